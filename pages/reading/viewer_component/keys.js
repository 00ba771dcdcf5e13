// What the hands can do: keys for the whole page, mouse, pen and touch for the picture.

// N, P, Y, D and U belong to the page, which steps through its films and takes the verdict with them; help names them too.
const KEYS = {
  "w": "windowTool", "i": "invert", "r": "turn", "0": "fit", "z": "actual", "+": "zoomIn", "=": "zoomIn",
  "-": "zoomOut", "−": "zoomOut", "x": "reset", "s": "layout:beside", "o": "layout:one", "f": "layout:flicker",
  "c": "mode:other", "a": "side:other", "m": "map", "[": "opacity:-10", "]": "opacity:10", "?": "help",
  "escape": "leave",
};
const HELP = [
  ["Window and level", [["drag with the right button", "window and level: right is softer, up is brighter"],
    ["W", "the left button does the same, until W again"], ["Shift + arrows", "the same, step by step"],
    ["1 – 9", "ready-made windows"], ["I", "invert"]]],
  ["Zoom", [["wheel, + −, two fingers", "zoom"], ["drag, arrows", "move the picture"], ["0", "whole film"],
    ["Z, double click", "100 %: one pixel for each of the film’s"], ["R", "turn clockwise"],
    ["X", "window, zoom and turn as at first"]]],
  ["Influence map", [["S  O  F", "side by side, one picture, flicker"], ["M", "map on or off"],
    ["Space", "held down: the film without the map"], ["C", "overlay or contour"], ["A", "for or against pneumonia"],
    ["[  ]", "opacity"]]],
  ["Films", [["N  P", "next, previous"], ["Y  D  U", "verdict: agree, disagree, unsure; the same again takes it back"],
    ["?  Esc", "open, close this help"]]],
];
const ARROWS = {arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1]};
const PAN_STEP = 60;
const WINDOW_STEP = 20;
const WHEEL_LINE = 16;

const isTyping = path =>
  path.some(one => one.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(one.tagName));

// Keys are heard before the page hears them: Streamlit itself runs the page again at R.
function listenToKeys(stage, act, signal) {
  const isOurs = path => path.includes(stage.getRootNode().host) || path.includes(stage);
  const handle = event => {
    const path = event.composedPath(), key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(path)) return;
    if (document.querySelector("[role=dialog]")) return;
    const target = path[0], isBusy = target.tagName === "BUTTON" || target.tagName === "A";
    let name = KEYS[key];
    if (ARROWS[key]) {
      // Elsewhere on the page arrows belong to tables and sliders.
      if (target !== document.body && !isOurs(path)) return;
      const [right, down] = ARROWS[key];
      if (target.getAttribute?.("role") === "slider") name = `opacity:${5 * (right - down)}`;
      else if (target.closest?.("[role=menu]")) return;
      else if (event.shiftKey) name = `window:${right * WINDOW_STEP},${down * WINDOW_STEP}`;
      else name = `pan:${-right * PAN_STEP},${-down * PAN_STEP}`;
    } else if (/^[1-9]$/.test(key)) name = `preset:${key - 1}`;
    else if (key === " ") name = isBusy || (target !== document.body && !isOurs(path)) ? undefined : "peek:on";
    if (name && act(name)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  };
  window.addEventListener("keydown", handle, {capture: true, signal});
  window.addEventListener("keyup", event => event.key === " " && act("peek:off"), {capture: true, signal});
  window.addEventListener("blur", () => act("peek:off"), {signal});
}

// `hands` is told of panning, dragging the window, zooming and hovering, in device pixels of the stage.
function listenToPointers(stage, hands, signal) {
  const pointers = new Map();
  let drag = null;
  const ratio = () => window.devicePixelRatio || 1;
  const place = event => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) * ratio(), (event.clientY - box.top) * ratio()];
  };
  const listen = (name, handle, options) => stage.addEventListener(name, handle, {signal, ...options});
  const isChrome = event =>
    event.composedPath().some(one => one.tagName === "BUTTON" || one.classList?.contains("help"));
  const middle = () => {
    const [[x, y], [u, v]] = [...pointers.values()];
    return {at: [(x + u) / 2, (y + v) / 2], apart: Math.hypot(x - u, y - v)};
  };
  listen("pointerdown", event => {
    if (isChrome(event)) return;
    pointers.set(event.pointerId, place(event));
    stage.setPointerCapture(event.pointerId);
    if (pointers.size === 2) drag = {kind: "pinch", ...middle()};
    else if (pointers.size === 1) {
      const isWindow = event.button === 2 || (event.button === 0 && hands.windows());
      drag = {kind: isWindow ? "window" : "pan", from: place(event), at: place(event), start: hands.start()};
    }
    // The middle button would start the browser's own scrolling.
    if (event.button === 1) event.preventDefault();
  });
  listen("pointermove", event => {
    const at = place(event);
    hands.hover(at);
    if (!pointers.has(event.pointerId) || !drag) return;
    pointers.set(event.pointerId, at);
    if (drag.kind === "pinch") {
      const now = middle();
      hands.pan(now.at[0] - drag.at[0], now.at[1] - drag.at[1]);
      if (drag.apart > 0 && now.apart > 0) hands.zoom(now.apart / drag.apart, now.at);
      drag = {kind: "pinch", ...now};
    } else if (drag.kind === "window") {
      hands.window(drag.start, (at[0] - drag.from[0]) / ratio(), (at[1] - drag.from[1]) / ratio());
    } else {
      hands.pan(at[0] - drag.at[0], at[1] - drag.at[1]);
      drag.at = at;
    }
  });
  const release = event => {
    pointers.delete(event.pointerId);
    drag = null;
  };
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) listen(name, release);
  listen("pointerleave", () => hands.hover(null));
  listen("contextmenu", event => event.preventDefault());
  listen("dblclick", event => isChrome(event) || hands.double(place(event)));
  listen("wheel", event => {
    if (isChrome(event)) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : WHEEL_LINE;
    // A pinch on a touch pad comes as a wheel with Ctrl, in finer steps.
    hands.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), place(event));
  }, {passive: false});
}
