/**
 * Progressive loading of an image: a preview, the full resolution, then the smaller copies.
 *
 * @module loader
 */

import {delay, fetchBytes, parsePicture} from "./image.js";
import {addLevels} from "./pyramid.js";

/**
 * @typedef {import("./pyramid.js").Level} Level
 *
 * @typedef {object} LoadedImage
 * @property {string} id
 * @property {number} width
 * @property {number} height
 * @property {Level[]} levels empty until the first pixels are there
 * @property {Level | null} full the image at full resolution
 * @property {Uint16Array[]} voiLuts the file's tables, one for each rendering
 *
 * @typedef {object} ImageData what the page says of an image
 * @property {string} id
 * @property {string} caption
 * @property {number} width
 * @property {number} height
 * @property {number} valueCount how many stored values can occur
 * @property {{url: string, bytes: number}[]} files the last one is the full resolution
 *
 * @typedef {object} LoadEvents
 * @property {(text: string) => void} onStatus
 * @property {() => void} onPixels pixels have arrived
 * @property {() => void} onComplete
 */

const RETRY_MS = 5000;

/**
 * @param {ImageData} about
 * @returns {LoadedImage}
 */
export const emptyImage = ({id, width, height}) => ({id, width, height, levels: [], full: null, voiLuts: []});

/**
 * Load the files of an image into it; what does not arrive is requested again until `signal` is aborted.
 *
 * @param {LoadedImage} image
 * @param {ImageData["files"]} files
 * @param {LoadEvents} events
 * @param {AbortSignal} signal
 */
export async function loadImage(image, files, {onStatus, onPixels, onComplete}, signal) {
  try {
    for (const [index, file] of files.entries()) {
      const isFull = index === files.length - 1;
      const buffer = await fetchUntilHere(image, file, onStatus, signal, share => {
        if (!signal.aborted && isFull) onStatus(`Full resolution: ${Math.round(100 * share)} %`);
      });
      if (signal.aborted) return;
      const {width, height, pixelData, voiLuts} = parsePicture(buffer);
      if (voiLuts.length) image.voiLuts = voiLuts;
      /** @type {Level} */
      const level = {width, height, pixelData, scale: [width / image.width, height / image.height]};
      if (isFull) image.full = level;
      image.levels.unshift(level);
      onPixels();
    }
    onStatus("");
    const levels = [/** @type {Level} */ (image.full)];
    await addLevels(levels, signal);
    if (signal.aborted) return;
    image.levels = levels;
    onComplete();
  } catch (error) {
    if (signal.aborted) return;
    console.error(error);
    onStatus("The image cannot be displayed");
  }
}

/**
 * @param {LoadedImage} image
 * @param {{url: string, bytes: number}} file
 * @param {(text: string) => void} onStatus
 * @param {AbortSignal} signal
 * @param {(share: number) => void} onProgress
 */
async function fetchUntilHere(image, file, onStatus, signal, onProgress) {
  for (;;) {
    try {
      return await fetchBytes(file.url, file.bytes, signal, onProgress);
    } catch (error) {
      if (signal.aborted) throw error;
      onStatus(image.levels.length ? "Full resolution not loaded yet; showing a smaller copy"
        : "The image has not loaded yet; trying again");
      await delay(RETRY_MS);
      if (signal.aborted) throw error;
    }
  }
}
