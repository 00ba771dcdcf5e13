/**
 * The VOI LUT: from stored values to display values, by window or by a table of the file, and inversion.
 *
 * @module voi_lut
 */

/** Largest value of a table of the file. */
export const LUT_MAX = 65535;

/**
 * @typedef {object} Voi
 * @property {number} windowCenter
 * @property {number} windowWidth
 * @property {Uint16Array | null} voiLut the file's own table, used as it is until the window is changed
 * @property {Uint16Array | null} inputLut a table whose output, and not the stored value, is windowed
 *
 * @typedef {object} Preset
 * @property {string} name
 * @property {number} windowCenter
 * @property {number} windowWidth
 * @property {number | null} rendering place of the file's rendering that it stands for, null for a generic window
 * @property {boolean} isLut whether the file gives a table and no window
 */

/**
 * Fill a table with the 8-bit display value of each stored value.
 *
 * A window is applied as DICOM PS3.3 C.11.2.1.2.1 defines the VOI LUT function LINEAR. `voiLut` comes before it,
 * because the file's window can follow another of the standard's functions.
 *
 * @param {Uint8Array} displayLut one entry for each stored value; filled and returned
 * @param {Voi} voi
 * @param {boolean} invert
 */
export function fillDisplayLut(displayLut, {windowCenter, windowWidth, voiLut, inputLut}, invert) {
  const slope = 255 / Math.max(windowWidth - 1, 1e-6), offset = 127.5 - (windowCenter - 0.5) * slope;
  /** @type {(table: Uint16Array, value: number) => number} */
  const lookUp = (table, value) => table[Math.min(value, table.length - 1)];
  for (let value = 0; value < displayLut.length; value++) {
    const exact = voiLut ? (lookUp(voiLut, value) * 255) / LUT_MAX
      : (inputLut ? lookUp(inputLut, value) : value) * slope + offset;
    const display = exact <= 0 ? 0 : exact >= 255 ? 255 : Math.round(exact);
    displayLut[value] = invert ? 255 - display : display;
  }
  return displayLut;
}

/**
 * Return what a preset shows before the window is changed. The tables arrive with the first pixels of the image.
 *
 * @param {Preset} preset
 * @param {Uint16Array[]} voiLuts the file's tables, one for each rendering
 * @returns {Voi}
 */
export function presetVoi({windowCenter, windowWidth, rendering, isLut}, voiLuts) {
  const voiLut = rendering === null ? null : voiLuts[rendering] ?? null;
  if (!voiLut || !isLut) return {windowCenter, windowWidth, voiLut, inputLut: null};
  return {windowCenter: (LUT_MAX + 1) / 2, windowWidth: LUT_MAX + 1, voiLut, inputLut: voiLut};
}

/**
 * Return the window after a drag: right is wider, so lower contrast; up is brighter.
 *
 * The width grows exponentially and the centre in proportion to the width, so that a drag across the picture has the
 * same effect at any bit depth.
 *
 * @param {Voi} voi where the drag started
 * @param {number} right CSS pixels
 * @param {number} down CSS pixels
 * @param {number} range how many values can occur
 * @returns {Voi}
 */
export function dragVoi(voi, right, down, range) {
  const windowWidth = Math.min(Math.max(voi.windowWidth * Math.exp(right / 220), 2), 4 * range);
  const shift = (down * Math.max(voi.windowWidth, range / 64)) / 350;
  const windowCenter = Math.min(Math.max(voi.windowCenter + shift, -range), 2 * range);
  return {...voi, windowWidth, windowCenter, voiLut: null};
}
