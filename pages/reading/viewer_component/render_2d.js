/**
 * Rendering on the processor: where there is no WebGL, or only one that the processor emulates, which is slower.
 *
 * What zoom and pan decide is computed once per viewport, so a drag of the window costs one look-up per device pixel.
 *
 * @module render_2d
 */

import {GRID} from "./evidence.js";
import {colourPixels, grayPixels, resample, samplePositions, tintTable} from "./resample.js";
import {imageAxes} from "./viewport.js";

/**
 * @typedef {import("./pyramid.js").Level} Level
 * @typedef {import("./stage.js").Renderer} Renderer
 * @typedef {import("./viewport.js").Pane} Pane
 * @typedef {import("./viewport.js").Size} Size
 * @typedef {import("./viewport.js").Viewport} Viewport
 */

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Renderer}
 */
export function create2dRenderer(canvas) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", {alpha: false}));
  /** @type {Record<string, any>} */
  const cached = {};

  /**
   * Resample image and evidence for a viewport; return whether the viewport is another one than before.
   *
   * @param {Size} image @param {Level} level @param {Viewport} viewport @param {Pane} pane
   * @param {Float32Array | null} grid
   */
  function updateSamples(image, level, viewport, pane, grid) {
    const {scale, x, y, rotation} = viewport;
    const key = [scale, x, y, rotation, pane.width, pane.height, canvas.width, canvas.height].join();
    const axes = imageAxes(viewport, image), area = pane.width * pane.height;
    // [columns, rows] of the pane for samples of the given size, whichever of the image's axes runs along them.
    /** @type {(width: number, height: number, perColumn: number, perRow: number) => any[]} */
    const positions = (width, height, perColumn, perRow) => {
      const side = axes.map(({axis}) => axis === 0 ? pane.width : pane.height);
      const found = [
        samplePositions(side[0], axes[0], image.width, perColumn, width, 1),
        samplePositions(side[1], axes[1], image.height, perRow, height, width),
      ];
      return axes[0].axis === 0 ? found : found.reverse();
    };
    if (cached.key !== key || cached.level !== level) {
      const [columns, rows] = positions(level.width, level.height, ...level.scale);
      const Pixels = level.pixelData.BYTES_PER_ELEMENT === 2 ? Uint16Array : Uint8Array;
      const canReuse = cached.values?.length === area && cached.values instanceof Pixels;
      cached.values = resample(level.pixelData, columns, rows, canReuse ? cached.values : new Pixels(area), 1);
      cached.region = [columns.from, rows.from, columns.to, rows.to];
    }
    if (grid && (cached.key !== key || cached.grid !== grid)) {
      const [columns, rows] = positions(GRID, GRID, GRID / image.width, GRID / image.height);
      const into = cached.strength?.length === area ? cached.strength : new Uint8Array(area);
      cached.strength = resample(grid, columns, rows, into, 255);
    }
    const isMoved = cached.key !== key;
    [cached.key, cached.level, cached.grid] = [key, level, grid];
    return isMoved;
  }

  /** @param {Uint8Array} displayLut @param {number} version */
  function updateGrays(displayLut, version) {
    if (cached.version === version && cached.grays?.length === displayLut.length) return;
    if (cached.grays?.length !== displayLut.length) cached.grays = new Uint32Array(displayLut.length);
    grayPixels(displayLut, cached.grays);
    cached.version = version;
  }

  /** @param {Uint8Array} colormap @param {number} opacity */
  function updateTints(colormap, opacity) {
    if (cached.colormap === colormap && cached.opacity === opacity) return;
    [cached.tints, cached.colormap, cached.opacity] = [tintTable(colormap, opacity), colormap, opacity];
  }

  /** @param {Pane} pane @param {boolean} hasOverlay */
  function paint(pane, hasOverlay) {
    if (cached.picture?.width !== pane.width || cached.picture?.height !== pane.height) {
      cached.picture = context.createImageData(pane.width, pane.height);
      cached.pixels = new Uint32Array(cached.picture.data.buffer);
    }
    const {values, strength, grays, pixels, tints, region} = cached;
    colourPixels(pixels, pane.width, region, values, grays, hasOverlay ? {strength, tints} : null);
    const [left, top, right, bottom] = region;
    context.putImageData(cached.picture, pane.left, pane.top, left, top, right - left, bottom - top);
  }

  function clear() {
    for (const key of Object.keys(cached)) delete cached[key];
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }

  return {
    name: "2d",
    render({image, level, viewport, panes, displayLut, displayLutVersion, grid, colormap, opacity}) {
      updateGrays(displayLut, displayLutVersion);
      updateTints(colormap, opacity);
      // Outside the image nothing changes until the viewport does.
      if (updateSamples(image, level, viewport, panes[0], grid)) {
        context.fillStyle = "#0e1116";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.fillStyle = "#000";
        for (const pane of panes) context.fillRect(pane.left, pane.top, pane.width, pane.height);
      }
      for (const pane of panes) paint(pane, Boolean(pane.hasOverlay && grid && opacity > 0));
    },
    clear,
    destroy: clear,
  };
}
