/**
 * Mouse, pen, touch and wheel on the stage: pan, zoom, pinch, and window and level.
 *
 * @module pointer
 */

const WHEEL_LINE = 16;

/**
 * @typedef {[number, number]} Point device pixels from the stage's corner
 *
 * @typedef {object} Gestures what the gestures do; lengths are device pixels
 * @property {() => boolean} isWindowTool whether the left button sets window and level
 * @property {() => any} windowStart
 * @property {(start: any, right: number, down: number) => void} window lengths in CSS pixels from the start
 * @property {(right: number, down: number) => void} pan
 * @property {(factor: number, at: Point) => void} zoom
 * @property {(at: Point) => void} doubleClick
 * @property {(at: Point | null) => void} hover
 */

/**
 * @param {HTMLElement} stage
 * @param {Gestures} gestures
 * @param {AbortSignal} signal
 */
export function listenToPointers(stage, gestures, signal) {
  /** @type {Map<number, Point>} */
  const pointers = new Map();
  /** @type {any} */
  let drag = null;
  const ratio = () => window.devicePixelRatio || 1;
  /** @param {MouseEvent} event @returns {Point} */
  const place = event => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) * ratio(), (event.clientY - box.top) * ratio()];
  };
  /** @type {(name: string, handle: (event: any) => void, options?: AddEventListenerOptions) => void} */
  const listen = (name, handle, options) => stage.addEventListener(name, handle, {signal, ...options});
  /** @param {Event} event */
  const isControl = event => event.composedPath().some(one => one instanceof Element
    && (one.tagName === "BUTTON" || one.classList.contains("help")));
  const pinch = () => {
    const [[x, y], [u, v]] = [...pointers.values()];
    return {at: /** @type {Point} */ ([(x + u) / 2, (y + v) / 2]), distance: Math.hypot(x - u, y - v)};
  };

  listen("pointerdown", event => {
    if (isControl(event)) return;
    pointers.set(event.pointerId, place(event));
    stage.setPointerCapture(event.pointerId);
    if (pointers.size === 2) drag = {kind: "pinch", ...pinch()};
    else if (pointers.size === 1) {
      const isWindow = event.button === 2 || (event.button === 0 && gestures.isWindowTool());
      drag = {kind: isWindow ? "window" : "pan", from: place(event), at: place(event), start: gestures.windowStart()};
    }
    // The middle button would start the browser's own scrolling.
    if (event.button === 1) event.preventDefault();
  });
  listen("pointermove", event => {
    const at = place(event);
    gestures.hover(at);
    if (!pointers.has(event.pointerId) || !drag) return;
    pointers.set(event.pointerId, at);
    if (drag.kind === "pinch") {
      const now = pinch();
      gestures.pan(now.at[0] - drag.at[0], now.at[1] - drag.at[1]);
      if (drag.distance > 0 && now.distance > 0) gestures.zoom(now.distance / drag.distance, now.at);
      drag = {kind: "pinch", ...now};
    } else if (drag.kind === "window") {
      gestures.window(drag.start, (at[0] - drag.from[0]) / ratio(), (at[1] - drag.from[1]) / ratio());
    } else {
      gestures.pan(at[0] - drag.at[0], at[1] - drag.at[1]);
      drag.at = at;
    }
  });
  /** @param {PointerEvent} event */
  const release = event => {
    pointers.delete(event.pointerId);
    drag = null;
  };
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) listen(name, release);
  listen("pointerleave", () => gestures.hover(null));
  listen("contextmenu", event => event.preventDefault());
  listen("dblclick", event => {
    if (!isControl(event)) gestures.doubleClick(place(event));
  });
  listen("wheel", event => {
    if (isControl(event)) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : WHEEL_LINE;
    // A pinch on a touch pad arrives as a wheel with Ctrl, in finer steps.
    gestures.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), place(event));
  }, {passive: false});
}
