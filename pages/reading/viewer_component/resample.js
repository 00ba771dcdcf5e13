/**
 * Resampling and colouring of one pane on the processor, into plain arrays.
 *
 * @module resample
 */

/**
 * @typedef {object} Positions where each pixel along one side of a pane falls between two samples
 * @property {Int32Array} first
 * @property {Int32Array} second
 * @property {Float32Array} fraction from the first to the second
 * @property {number} from first pixel that shows the image
 * @property {number} to pixel after the last
 * @property {number} count pixels along the side
 *
 * @typedef {object} Tints how a colour is blended over a gray value, for each of 256 strengths, in 256ths
 * @property {Uint16Array} keep share of the gray value
 * @property {Uint32Array} redBlue
 * @property {Uint32Array} green
 */

export const BLACK = 0xff000000;

/**
 * @param {number} count pixels along the side of the pane
 * @param {{step: number, start: number}} axis from pane to image
 * @param {number} size of the image along this axis
 * @param {number} samplesPerPixel
 * @param {number} length samples along this axis
 * @param {number} stride between two samples
 * @returns {Positions}
 */
export function samplePositions(count, {step, start}, size, samplesPerPixel, length, stride) {
  const [first, second, fraction] = [new Int32Array(count), new Int32Array(count), new Float32Array(count)];
  let [from, to] = [count, 0];
  for (let index = 0; index < count; index++) {
    const pixel = (index + 0.5) * step + start;
    if (pixel < 0 || pixel >= size) continue;
    [from, to] = [Math.min(from, index), index + 1];
    const place = pixel * samplesPerPixel - 0.5, floor = Math.floor(place);
    first[index] = Math.min(Math.max(floor, 0), length - 1) * stride;
    second[index] = Math.min(Math.max(floor + 1, 0), length - 1) * stride;
    fraction[index] = place - floor;
  }
  return {first, second, fraction, from, to: Math.max(from, to), count};
}

/**
 * Interpolate bilinearly, as far as the image reaches.
 *
 * @template {Uint8Array | Uint16Array} T
 * @param {ArrayLike<number>} samples
 * @param {Positions} columns
 * @param {Positions} rows
 * @param {T} into
 * @param {number} factor by which the samples are multiplied before they are rounded
 * @returns {T}
 */
export function resample(samples, columns, rows, into, factor) {
  for (let y = rows.from; y < rows.to; y++) {
    const upper = rows.first[y], lower = rows.second[y], down = rows.fraction[y];
    for (let x = columns.from, at = y * columns.count + x; x < columns.to; x++, at++) {
      const left = columns.first[x], right = columns.second[x], across = columns.fraction[x];
      const above = samples[upper + left] + (samples[upper + right] - samples[upper + left]) * across;
      const below = samples[lower + left] + (samples[lower + right] - samples[lower + left]) * across;
      into[at] = (above + (below - above) * down) * factor + 0.5;
    }
  }
  return into;
}

/**
 * @param {Uint8Array} displayLut
 * @param {Uint32Array} into opaque gray pixels, ABGR
 */
export function grayPixels(displayLut, into) {
  for (let value = 0; value < displayLut.length; value++) into[value] = BLACK | (displayLut[value] * 0x010101);
  return into;
}

/**
 * @param {Uint8Array} colormap 256 × RGB
 * @param {number} opacity in [0, 1]
 * @returns {Tints}
 */
export function tintTable(colormap, opacity) {
  const tints = {keep: new Uint16Array(256), redBlue: new Uint32Array(256), green: new Uint32Array(256)};
  for (let strength = 0; strength < 256; strength++) {
    const share = Math.round((256 * opacity * strength) / 255);
    const [red, green, blue] = [0, 1, 2].map(channel => colormap[3 * strength + channel] * share + 128);
    tints.keep[strength] = 256 - share;
    tints.redBlue[strength] = blue * 65536 + red;
    tints.green[strength] = green;
  }
  return tints;
}

/**
 * Colour part of a pane.
 *
 * @param {Uint32Array} pixels ABGR, filled
 * @param {number} width of the pane
 * @param {[number, number, number, number]} region left, top, right and bottom within the pane
 * @param {ArrayLike<number>} values stored values
 * @param {Uint32Array} grays one for each stored value
 * @param {{strength: Uint8Array, tints: Tints} | null} overlay
 */
export function colourPixels(pixels, width, [left, top, right, bottom], values, grays, overlay) {
  for (let y = top; y < bottom; y++) {
    const end = y * width + right;
    let at = y * width + left;
    if (!overlay) {
      for (; at < end; at++) pixels[at] = grays[values[at]];
      continue;
    }
    const {strength, tints: {keep, redBlue, green}} = overlay;
    for (; at < end; at++) {
      const pixel = grays[values[at]], tint = strength[at], gray = pixel & 255, kept = keep[tint];
      pixels[at] = tint === 0 ? pixel : BLACK | (((gray * 0x010001 * kept + redBlue[tint]) >>> 8) & 0xff00ff)
        | ((gray * kept + green[tint]) & 0xff00);
    }
  }
}
