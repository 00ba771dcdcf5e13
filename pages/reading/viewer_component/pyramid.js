/**
 * The image pyramid: ever smaller copies of an image, so that each zoom has one close to its own scale.
 *
 * @module pyramid
 */

import {delay} from "./image.js";

/** @typedef {import("./image.js").PixelData} PixelData */

/**
 * @typedef {object} Level
 * @property {number} width
 * @property {number} height
 * @property {PixelData} pixelData
 * @property {[number, number]} scale pixels of the copy per image pixel, along columns and rows
 */

const SMALLEST_LEVEL = 256;
const STRIP_PIXELS = 500_000;

/**
 * Average each 2 × 2 pixels, at an odd edge the two or the one that are there, for some rows of the smaller copy.
 *
 * @param {Level} level
 * @param {Level} half
 * @param {number} from first row of `half`
 * @param {number} to row after the last
 */
export function halveRows({width, height, pixelData}, half, from, to) {
  const pairs = width >> 1;
  for (let row = from; row < to; row++) {
    const upper = 2 * row * width, lower = Math.min(2 * row + 1, height - 1) * width;
    let at = row * half.width;
    for (let column = 0; column < pairs; column++, at++) {
      const left = 2 * column;
      const sum = pixelData[upper + left] + pixelData[upper + left + 1]
        + pixelData[lower + left] + pixelData[lower + left + 1];
      half.pixelData[at] = (sum + 2) >> 2;
    }
    if (width & 1) half.pixelData[at] = (pixelData[upper + width - 1] + pixelData[lower + width - 1] + 1) >> 1;
  }
}

/**
 * Return an empty copy of half the size.
 *
 * @param {Level} level
 * @returns {Level}
 */
export function emptyHalf(level) {
  const width = (level.width + 1) >> 1, height = (level.height + 1) >> 1;
  const Pixels = level.pixelData.BYTES_PER_ELEMENT === 2 ? Uint16Array : Uint8Array;
  return {width, height, pixelData: new Pixels(width * height), scale: [level.scale[0] / 2, level.scale[1] / 2]};
}

/**
 * Add the smaller copies of the first level, in strips, so that the page stays responsive.
 *
 * @param {Level[]} levels
 * @param {AbortSignal} signal
 */
export async function addLevels(levels, signal) {
  for (let level = levels[0]; Math.max(level.width, level.height) > SMALLEST_LEVEL;) {
    const half = emptyHalf(level), strip = Math.max(1, Math.floor(STRIP_PIXELS / half.width));
    for (let row = 0; row < half.height; row += strip) {
      halveRows(level, half, row, Math.min(row + strip, half.height));
      await delay(0);
      if (signal.aborted) return;
    }
    levels.push(half);
    level = half;
  }
}

/**
 * Return the level whose pixels are closest in size to device pixels.
 *
 * @param {Level[]} levels
 * @param {number} scale device pixels per image pixel
 */
export function closestLevel(levels, scale) {
  /** @type {(level: Level) => number} */
  const misfit = level => Math.abs(Math.log2(scale / level.scale[0]));
  return levels.reduce((best, level) => misfit(level) < misfit(best) ? level : best);
}
