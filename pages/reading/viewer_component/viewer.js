/**
 * The viewer: a radiograph beside or below its evidence map. The entry point of the component.
 *
 * Settings last for the visit, the window and the viewport for the image. Dragging never asks the server.
 *
 * @module viewer
 */

import {pixelText, windowText, zoomText} from "./annotations.js";
import {createControls} from "./controls.js";
import {evidenceGrid} from "./evidence.js";
import {createFlicker} from "./flicker.js";
import {listenToKeys} from "./keys.js";
import {emptyImage, loadImage} from "./loader.js";
import {listenToPointers} from "./pointer.js";
import {closestLevel} from "./pyramid.js";
import {changeSettings} from "./settings.js";
import {createStage} from "./stage.js";
import {canvasToImage, constrainViewport, fitViewport, panViewport, rotateViewport, zoomViewport} from "./viewport.js";
import {LUT_MAX, dragVoi, fillDisplayLut, presetVoi} from "./voi_lut.js";

/**
 * @typedef {import("./pointer.js").Point} Point
 *
 * @typedef {object} Captions
 * @property {string} overlay
 * @property {string} contour
 * @property {string} empty
 *
 * @typedef {object} ViewerData what the page sends
 * @property {import("./loader.js").ImageData} image
 * @property {import("./voi_lut.js").Preset[]} presets
 * @property {{cells: number[][], maxFor: number, maxAgainst: number} | null} evidence
 * @property {number[][] | null} lungs outlines over the unit square, null where none were looked for or found
 * @property {string} colormap 256 × RGB, Base64
 * @property {import("./settings.js").Settings} settings
 * @property {{noEvidence: string, lungs: string, captions: {for: Captions, against: Captions},
 *   notes: {for: {map: string, empty: string}, against: {map: string, empty: string}}}} text
 */

const REPORT_AFTER_MS = 250;
const ZOOM_STEP = 1.25;

/**
 * @param {ShadowRoot} root
 * @param {ViewerData} first
 */
function createViewer(root, first) {
  const ending = new AbortController(), signal = ending.signal;
  const viewerElement = /** @type {HTMLElement} */ (root.querySelector(".viewer"));
  const stageElement = /** @type {HTMLElement} */ (root.querySelector(".stage"));
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  let data = first, settings = {...first.settings};
  /** @type {(name: string, value: unknown) => void} */
  let setStateValue = () => {};
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let reporting;
  /** @type {number | null} */
  let frame = null;
  let loading = new AbortController();
  let image = emptyImage(first.image);
  /** @type {import("./viewport.js").Viewport | null} */
  let viewport = null;
  let voi = presetVoi(first.presets[0], []);
  let preset = 0, rendering = 0, isWindowModified = false, invert = false, isWindowTool = false;
  let isEvidenceOn = true, isPeeking = false;
  /** @type {Point | null} */
  let pointer = null;
  /** @type {Float32Array | null} */
  let grid = null;
  let displayLut = new Uint8Array(256), displayLutVersion = 0, colormap = new Uint8Array(768);
  const controls = createControls(root, act, signal), {part} = controls;
  const stage = createStage(stageElement, () => {
    refit();
    requestRender();
  });
  const flicker = createFlicker(requestRender, {
    setInterval: (run, ms) => setInterval(run, ms), clearInterval: timer => clearInterval(timer),
  });

  // ---- the image

  function load() {
    loading.abort();
    loading = new AbortController();
    const current = image = emptyImage(data.image);
    [preset, rendering, isWindowModified, invert, isEvidenceOn] = [0, 0, false, false, true];
    colormap = Uint8Array.from(atob(data.colormap), one => one.charCodeAt(0));
    displayLut = new Uint8Array(Math.max(256, data.image.valueCount));
    controls.offerPresets(data.presets);
    // At once, so that no image is shown beside another one's finding while it is loaded.
    stage.clear();
    for (const name of ["pixel", "loading", "window", "zoom"]) part(name).textContent = "";
    part("cross").hidden = true;
    usePreset();
    updateGrid();
    viewport = fitViewport(image, firstPane(), 0);
    show();
    loadImage(current, data.image.files, {
      onStatus: text => { part("loading").textContent = text; },
      onPixels: () => {
        usePreset();
        requestRender();
      },
      onComplete: () => {
        stageElement.dataset.loaded = current.id;
        requestRender();
      },
    }, loading.signal);
  }

  function updateGrid() {
    const {evidence} = data;
    const maximum = evidence ? (settings.against ? evidence.maxAgainst : evidence.maxFor) : 0;
    grid = evidence && maximum ? evidenceGrid(evidence.cells, maximum, settings.against) : null;
  }

  // ---- what is shown

  function usePreset() {
    if (isWindowModified || !data.presets[preset]) return;
    voi = presetVoi(data.presets[preset], image.voiLuts);
    updateDisplayLut();
  }

  function updateDisplayLut() {
    fillDisplayLut(displayLut, voi, invert);
    displayLutVersion++;
  }

  const isBeside = () => settings.layout === "beside" && Boolean(data.evidence);
  const firstPane = () => stage.panes(isBeside())[0];
  const isReady = () => Boolean(image.levels.length && viewport);

  function refit() {
    if (!viewport) return;
    viewport = viewport.isFit ? fitViewport(image, firstPane(), viewport.rotation)
      : constrainViewport(viewport, image, firstPane());
  }

  function requestRender() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      render();
    });
  }

  function render() {
    if (!image.levels.length || !viewport) return;
    const panes = stage.panes(isBeside()), evidencePane = panes[panes.length - 1];
    const showsEvidence = grid !== null && isEvidenceOn && !isPeeking && flicker.isShown();
    evidencePane.hasOverlay = showsEvidence && settings.mode === "overlay";
    evidencePane.hasContours = showsEvidence && settings.mode === "contour";
    stage.render({image, viewport, panes, grid, colormap, displayLut, displayLutVersion, opacity: settings.opacity,
      levels: settings.levels, lungs: settings.lungs ? data.lungs : null, level: closestLevel(image.levels, viewport.scale)});
    part("zoom").textContent = zoomText(viewport);
    part("window").textContent = windowText(voi, data.presets[preset].name, invert);
    hover(pointer);
  }

  function show() {
    const {image, evidence, text} = data, sign = settings.against ? "against" : "for";
    const caption = image.caption + (settings.lungs && data.lungs ? `. ${text.lungs}` : "");
    const isEmpty = evidence && !(settings.against ? evidence.maxAgainst : evidence.maxFor);
    const evidenceCaption = evidence ? text.captions[sign][isEmpty ? "empty" : settings.mode] : text.noEvidence;
    viewerElement.dataset.layout = isBeside() ? "beside" : "one";
    part("caption").textContent = isBeside() ? caption : `${caption}. ${evidenceCaption}`;
    part("evidenceCaption").textContent = evidenceCaption;
    part("evidenceCaption").hidden = !isBeside();
    part("note").textContent = evidence ? text.notes[sign][isEmpty ? "empty" : "map"] : "";
    stageElement.setAttribute("aria-label", `${caption}. ${evidenceCaption}`);
    stageElement.classList.toggle("window-tool", isWindowTool);
    controls.show({settings, presets: data.presets, preset, isWindowModified, invert, isWindowTool,
      hasEvidence: Boolean(evidence), hasLungs: Boolean(data.lungs), colormap});
    // For screen readers: what a key has just changed.
    const status = `${part("preset").textContent}${invert ? ", inverted" : ""}. ${evidenceCaption}`;
    if (part("status").textContent !== status) part("status").textContent = status;
    requestRender();
  }

  // ---- what the reader does

  function report() {
    clearTimeout(reporting);
    reporting = setTimeout(
      () => setStateValue("settings", {...settings, rendering, imageId: image.id}), REPORT_AFTER_MS);
    show();
  }

  /** @param {string} name @param {string} argument */
  function change(name, argument) {
    if (!data.evidence) return false;
    const {against} = settings;
    settings = changeSettings(settings, name, argument);
    if (settings.against !== against) updateGrid();
    isEvidenceOn = true;
    updateFlicker();
    refit();
    report();
    return true;
  }

  function toggleLungs() {
    if (!data.lungs) return false;
    settings = changeSettings(settings, "lungs", "");
    report();
    return true;
  }

  // With reduced motion, M and the space bar show and hide the map.
  const updateFlicker = () => flicker.set(settings.layout === "flicker" && !reducedMotion.matches);

  /**
   * From the stage to the pane under a point.
   *
   * @param {Point} point
   * @returns {{left: number, top: number, pane: import("./viewport.js").Pane}}
   */
  function inPane([left, top]) {
    const panes = stage.panes(isBeside()), pane = panes.filter(one => left >= one.left).pop() ?? panes[0];
    return {left: left - pane.left, top: top - pane.top, pane};
  }

  /** @param {number} scale @param {Point | null} at */
  function zoomTo(scale, at = null) {
    if (!viewport) return;
    const pane = firstPane(), {left, top} = at ? inPane(at) : {left: pane.width / 2, top: pane.height / 2};
    viewport = zoomViewport(viewport, image, pane, scale, left, top);
    requestRender();
  }

  /** @param {number} factor @param {Point | null} at */
  const zoomBy = (factor, at = null) => zoomTo((viewport?.scale ?? 1) * factor, at);

  /** @param {number} right @param {number} down */
  function pan(right, down) {
    if (viewport) viewport = panViewport(viewport, image, firstPane(), right, down);
    requestRender();
  }

  function fit() {
    viewport = fitViewport(image, firstPane(), viewport?.rotation ?? 0);
    requestRender();
  }

  /** @param {import("./voi_lut.js").Voi} start @param {number} right @param {number} down */
  function dragWindow(start, right, down) {
    voi = dragVoi(start, right, down, start.inputLut ? LUT_MAX + 1 : data.image.valueCount);
    const wasModified = isWindowModified;
    isWindowModified = true;
    updateDisplayLut();
    if (wasModified) requestRender();
    else show();
  }

  /** @param {number} index */
  function choosePreset(index) {
    if (!data.presets[index]) return false;
    [preset, isWindowModified] = [index, false];
    usePreset();
    controls.openMenu(false);
    show();
    const chosen = data.presets[preset].rendering;
    if (chosen !== null && chosen !== rendering) {
      rendering = chosen;
      report();
    }
    return true;
  }

  function reset() {
    [preset, isWindowModified, invert, isWindowTool] = [0, false, false, false];
    usePreset();
    viewport = fitViewport(image, firstPane(), 0);
    show();
    if (rendering) {
      rendering = 0;
      report();
    }
  }

  function toggleHelp() {
    const help = part("help");
    help.hidden = !help.hidden;
    if (help.hidden) stageElement.focus();
    else help.querySelector("button")?.focus();
  }

  function close() {
    if (!part("help").hidden) toggleHelp();
    else if (!controls.openMenu(false)) {
      if (!isWindowTool) return false;
      isWindowTool = false;
      show();
    }
    return true;
  }

  /** @param {string} argument @returns {[number, number]} */
  const twoNumbers = argument => {
    const [one, other] = argument.split(",").map(Number);
    return [one, other];
  };

  /** What each command does; one that returns false did nothing. @type {Record<string, (argument: string) => unknown>} */
  const commands = {
    windowTool: () => { isWindowTool = !isWindowTool; show(); },
    invert: () => { invert = !invert; updateDisplayLut(); show(); },
    rotate: () => { if (viewport) viewport = rotateViewport(viewport, image, firstPane()); requestRender(); },
    fit: () => fit(),
    actualSize: () => zoomTo(1),
    zoomIn: () => zoomBy(ZOOM_STEP),
    zoomOut: () => zoomBy(1 / ZOOM_STEP),
    reset: () => reset(),
    presets: () => { controls.openMenu(Boolean(part("presets").hidden)); },
    preset: index => choosePreset(Number(index)),
    layout: layout => change("layout", layout),
    mode: mode => change("mode", mode),
    sign: sign => change("sign", sign),
    lungs: () => toggleLungs(),
    level: level => change("level", level),
    opacity: percent => change("opacity", percent),
    opacityTo: percent => change("opacityTo", percent),
    evidence: () => { isEvidenceOn = !isEvidenceOn; requestRender(); },
    peek: state => {
      if (isPeeking === (state === "on")) return;
      isPeeking = !isPeeking;
      requestRender();
    },
    window: step => dragWindow(voi, ...twoNumbers(step)),
    pan: step => pan(...twoNumbers(step)),
    help: () => toggleHelp(),
    close: () => close(),
  };

  /**
   * Carry out a command; return whether it did anything, so that a key without effect still reaches the page.
   *
   * @param {string} command
   */
  function act(command) {
    const [name, argument] = command.split(/:(.*)/s);
    if (!isReady() && name !== "help" && name !== "close") return false;
    return commands[name](argument) !== false;
  }

  /** @param {Point | null} at */
  function hover(at) {
    pointer = at;
    const cross = part("cross");
    cross.hidden = true;
    part("pixel").textContent = "";
    if (!at || !isReady() || !viewport) return;
    const {left, top, pane} = inPane(at);
    const [column, row] = canvasToImage(viewport, image, left, top).map(Math.floor);
    if (column < 0 || row < 0 || column >= image.width || row >= image.height) return;
    const other = isBeside() ? stage.panes(true).find(one => one.left !== pane.left) : undefined;
    if (other) {
      const ratio = window.devicePixelRatio || 1;
      cross.style.translate = `${(other.left + left) / ratio}px ${(other.top + top) / ratio}px`;
      cross.hidden = false;
    }
    part("pixel").textContent = pixelText(image, column, row, image.full?.pixelData ?? null,
      data.evidence ? grid : undefined, settings.against);
  }

  listenToKeys(stageElement, act, signal);
  listenToPointers(stageElement, {
    isWindowTool: () => isWindowTool,
    windowStart: () => voi,
    window: (start, right, down) => { if (isReady()) dragWindow(start, right, down); },
    pan: (right, down) => { if (isReady()) pan(right, down); },
    zoom: (factor, at) => { if (isReady()) zoomBy(factor, at); },
    doubleClick: at => {
      if (!isReady()) return;
      if (viewport?.isFit) zoomTo(1, at);
      else fit();
    },
    hover,
  }, signal);
  updateFlicker();
  load();

  return {
    calls: 0,
    /** @param {ViewerData} next @param {(name: string, value: unknown) => void} setValue */
    update(next, setValue) {
      const isSameEvidence = JSON.stringify(data.evidence) === JSON.stringify(next.evidence);
      [data, setStateValue] = [next, setValue];
      if (image.id !== data.image.id) {
        load();
        return;
      }
      if (!isSameEvidence) updateGrid();
      show();
    },
    destroy() {
      ending.abort();
      loading.abort();
      flicker.set(false);
      clearTimeout(reporting);
      if (frame !== null) cancelAnimationFrame(frame);
      stage.destroy();
    },
  };
}

/** @type {WeakMap<ShadowRoot, ReturnType<typeof createViewer>>} */
const viewers = new WeakMap();

/**
 * Mount or update the viewer, as Streamlit's components call it; return what removes it.
 *
 * @param {{data: ViewerData, parentElement: ShadowRoot, setStateValue: (name: string, value: unknown) => void}} component
 */
export default function mount({data, parentElement, setStateValue}) {
  const viewer = viewers.get(parentElement) ?? createViewer(parentElement, data);
  viewers.set(parentElement, viewer);
  viewer.update(data, setStateValue);
  // Streamlit also removes a call that a later one has replaced.
  const call = ++viewer.calls;
  return () => {
    if (viewer.calls !== call) return;
    viewers.delete(parentElement);
    viewer.destroy();
  };
}
