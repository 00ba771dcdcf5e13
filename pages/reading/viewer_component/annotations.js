/**
 * The text in the corners of the stage: window, zoom, and what is under the pointer.
 *
 * @module annotations
 */

import {evidenceAt} from "./evidence.js";

/** @param {number} value */
export const wholeNumber = value => Math.round(value).toLocaleString("en-GB");

/**
 * @param {import("./voi_lut.js").Voi} voi
 * @param {string} presetName
 * @param {boolean} invert
 */
export function windowText(voi, presetName, invert) {
  const isTable = voi.inputLut && voi.voiLut;
  const window = isTable ? presetName : `W ${wholeNumber(voi.windowWidth)}  L ${wholeNumber(voi.windowCenter)}`;
  return window + (invert ? "  inverted" : "");
}

/** @param {import("./viewport.js").Viewport} viewport */
export function zoomText({scale, isFit, rotation}) {
  return `${isFit ? "Fit, " : ""}${Math.round(100 * scale)} %${rotation ? `, rotated ${rotation}°` : ""}`;
}

/**
 * @param {{width: number, height: number}} image
 * @param {number} column
 * @param {number} row
 * @param {ArrayLike<number> | null} pixelData null until the image is there at full resolution
 * @param {Float32Array | null | undefined} grid null for a map without evidence, undefined without a map
 * @param {boolean} against
 */
export function pixelText(image, column, row, pixelData, grid, against) {
  const value = pixelData ? `, value ${wholeNumber(pixelData[row * image.width + column])}` : "";
  const share = grid ? evidenceAt(grid, (column + 0.5) / image.width, (row + 0.5) / image.height) : 0;
  const evidence = grid === undefined ? "" : `, evidence ${against ? "against " : ""}${Math.round(100 * share)} %`;
  return `x ${column}, y ${row}${value}${evidence}`;
}
