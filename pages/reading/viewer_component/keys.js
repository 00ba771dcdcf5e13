/**
 * Keyboard shortcuts and the list of them in the help.
 *
 * @module keys
 */

// N, P, Y, D and U belong to the page: next and previous image, and the verdict. The help lists them too.
/** @type {Record<string, string>} */
export const KEYS = {
  "w": "windowTool", "i": "invert", "r": "rotate", "0": "fit", "z": "actualSize", "+": "zoomIn", "=": "zoomIn",
  "-": "zoomOut", "−": "zoomOut", "x": "reset", "s": "layout:beside", "o": "layout:one", "f": "layout:flicker",
  "c": "mode:other", "a": "sign:other", "l": "lungs", "m": "evidence", "[": "opacity:-10", "]": "opacity:10", "?": "help",
  "escape": "close",
};

/** Sections of the help: heading, then keys and meaning. @type {[string, [string, string][]][]} */
export const HELP = [
  ["Window and level", [["drag with the right button", "window and level: right lowers contrast, up is brighter"],
    ["W", "use the left button for window and level, on or off"],
    ["Shift + arrows", "window and level in steps"],
    ["1 – 9", "window presets"], ["I", "invert grayscale"]]],
  ["Zoom and rotation", [["wheel, + −, two fingers", "zoom"], ["drag, arrows", "pan"], ["0", "fit to window"],
    ["Z, double click", "100 %: one image pixel per screen pixel"], ["R", "rotate 90° clockwise, display only"],
    ["X", "reset window, zoom and rotation"]]],
  ["Evidence map", [["S  O  F", "side by side, single image, flicker"], ["M", "evidence map on or off"],
    ["Space", "hold: hide the evidence map"], ["C", "overlay or contours"], ["A", "evidence for or against pneumonia"],
    ["[  ]", "opacity of the overlay"], ["L", "outline of the lungs as the classifier found them, on or off"]]],
  ["Images", [["N  P", "next, previous image"], ["Y  D  U", "verdict: agree, disagree, unsure; press again to clear"],
    ["?  Esc", "open, close this help"]]],
];

/** @type {Record<string, [number, number]>} */
const ARROWS = {arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1]};
const PAN_STEP = 60;
const WINDOW_STEP = 20;

/**
 * @typedef {object} Focus where a key was pressed
 * @property {boolean} isOurs on the viewer, or nowhere on the page
 * @property {boolean} isButton
 * @property {boolean} isSlider
 * @property {boolean} isMenu
 */

/**
 * Return the command of a key, undefined where it has none here.
 *
 * @param {{key: string, shiftKey: boolean}} event
 * @param {Focus} focus
 * @returns {string | undefined}
 */
export function commandOf(event, focus) {
  const key = event.key.toLowerCase();
  if (ARROWS[key]) {
    const [right, down] = ARROWS[key];
    // Elsewhere on the page arrows belong to tables and sliders.
    if (!focus.isOurs || focus.isMenu) return undefined;
    if (focus.isSlider) return `opacity:${5 * (right - down)}`;
    if (event.shiftKey) return `window:${right * WINDOW_STEP},${down * WINDOW_STEP}`;
    return `pan:${-right * PAN_STEP},${-down * PAN_STEP}`;
  }
  if (/^[1-9]$/.test(key)) return `preset:${Number(key) - 1}`;
  if (key === " ") return focus.isOurs && !focus.isButton ? "peek:on" : undefined;
  return KEYS[key];
}

/** @param {EventTarget[]} path */
const isTyping = path => path.some(one => one instanceof HTMLElement
  && (one.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(one.tagName)));

/**
 * Listen for keys on the whole page, before the page does: Streamlit's own shortcut R would run it again.
 *
 * @param {HTMLElement} stage
 * @param {(command: string) => boolean} act returns whether the command did anything
 * @param {AbortSignal} signal
 */
export function listenToKeys(stage, act, signal) {
  /** @param {KeyboardEvent} event */
  const handle = event => {
    const path = event.composedPath(), target = /** @type {HTMLElement} */ (path[0]);
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(path)) return;
    if (document.querySelector("[role=dialog]")) return;
    const host = /** @type {ShadowRoot} */ (stage.getRootNode()).host;
    const command = commandOf(event, {
      isOurs: target === document.body || path.includes(host) || path.includes(stage),
      isButton: target.tagName === "BUTTON" || target.tagName === "A",
      isSlider: target.getAttribute?.("role") === "slider",
      isMenu: Boolean(target.closest?.("[role=menu]")),
    });
    if (command && act(command)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  };
  window.addEventListener("keydown", handle, {capture: true, signal});
  window.addEventListener("keyup", event => {
    if (event.key === " ") act("peek:off");
  }, {capture: true, signal});
  window.addEventListener("blur", () => act("peek:off"), {signal});
}
