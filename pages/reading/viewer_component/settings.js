/**
 * The reader's settings of the evidence map, which last for the visit.
 *
 * @module settings
 */

/** Contour levels on offer, as shares of the map's maximum. */
export const CONTOUR_LEVELS = [0.2, 0.4, 0.6, 0.8, 0.9];

/**
 * @typedef {object} Settings
 * @property {"beside" | "one" | "flicker"} layout
 * @property {"overlay" | "contour"} mode
 * @property {number} opacity in [0, 1]
 * @property {number[]} levels of the contours, in (0, 1]
 * @property {boolean} against whether the map shows what lowers the probability
 * @property {boolean} lungs whether the outlines of the lungs are drawn
 */

/**
 * Return the settings after a command; opacity changes in whole percents and stays in [0, 1].
 *
 * @param {Settings} settings
 * @param {string} name "layout", "mode", "sign", "lungs", "level", "opacity" or "opacityTo"
 * @param {string} argument
 * @returns {Settings}
 */
export function changeSettings(settings, name, argument) {
  if (name === "layout") return {...settings, layout: /** @type {Settings["layout"]} */ (argument)};
  if (name === "mode") {
    const other = settings.mode === "overlay" ? "contour" : "overlay";
    return {...settings, mode: /** @type {Settings["mode"]} */ (argument === "other" ? other : argument)};
  }
  if (name === "sign")
    return {...settings, against: argument === "other" ? !settings.against : argument === "against"};
  if (name === "lungs") return {...settings, lungs: !settings.lungs};
  if (name === "level") {
    const levels = new Set(settings.levels), level = Number(argument);
    if (!levels.delete(level)) levels.add(level);
    return {...settings, levels: [...levels].sort()};
  }
  const percent = Number(argument) + (name === "opacity" ? 100 * settings.opacity : 0);
  return {...settings, opacity: Math.min(Math.max(Math.round(percent), 0), 100) / 100};
}
