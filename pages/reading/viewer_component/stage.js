/**
 * The canvases: one for image and overlay, one above it for contours. Chooses the renderer and keeps their sizes.
 *
 * @module stage
 */

import {contourSegments} from "./evidence.js";
import {create2dRenderer} from "./render_2d.js";
import {createWebglRenderer} from "./render_webgl.js";
import {unitToPane} from "./viewport.js";

/**
 * @typedef {import("./viewport.js").Pane & {hasOverlay?: boolean, hasContours?: boolean}} DrawnPane
 *
 * @typedef {object} Scene
 * @property {import("./viewport.js").Size} image
 * @property {import("./pyramid.js").Level} level
 * @property {import("./viewport.js").Viewport} viewport
 * @property {DrawnPane[]} panes one, or two of one size
 * @property {Uint8Array} displayLut
 * @property {number} displayLutVersion changes with the content of `displayLut`
 * @property {Float32Array | null} grid evidence, null where there is none
 * @property {Uint8Array} colormap 256 × RGB
 * @property {number} opacity in [0, 1]
 * @property {number[]} levels of the contours, in (0, 1]
 * @property {number[][] | null} lungs outlines over the unit square, x and y in turn, where they are to be drawn
 *
 * @typedef {object} Renderer
 * @property {string} name
 * @property {(scene: Scene) => void} render
 * @property {() => void} clear
 * @property {() => void} destroy
 */

const PANE_GAP = 8;

/**
 * @param {HTMLElement} element
 * @param {() => void} onResize
 */
export function createStage(element, onResize) {
  /** @type {HTMLCanvasElement} */
  let imageCanvas;
  /** @type {HTMLCanvasElement} */
  let contourCanvas;
  /** @type {Renderer} */
  let renderer;
  let allowsWebgl = true;
  /** @type {{key: string | null, paths: Map<number, Path2D>, grid: Float32Array | null, lungs: number[][] | null}} */
  const drawn = {key: null, paths: new Map(), grid: null, lungs: null};

  function build() {
    renderer?.destroy();
    imageCanvas?.remove();
    contourCanvas?.remove();
    [imageCanvas, contourCanvas] = ["image", "contours"].map(name => {
      const canvas = document.createElement("canvas");
      canvas.className = name;
      canvas.setAttribute("aria-hidden", "true");
      return canvas;
    });
    element.prepend(imageCanvas, contourCanvas);
    const webgl = allowsWebgl ? createWebglRenderer(imageCanvas, fallBack) : null;
    if (!webgl) {
      // A canvas whose WebGL context was requested cannot have another kind.
      const fresh = /** @type {HTMLCanvasElement} */ (imageCanvas.cloneNode());
      imageCanvas.replaceWith(fresh);
      imageCanvas = fresh;
    }
    renderer = webgl ?? create2dRenderer(imageCanvas);
    element.dataset.renderer = renderer.name;
    drawn.key = null;
    measure();
  }

  function fallBack() {
    allowsWebgl = false;
    build();
    onResize();
  }

  function measure() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] =
      [element.clientWidth, element.clientHeight].map(side => Math.max(1, Math.round(side * ratio)));
    for (const canvas of [imageCanvas, contourCanvas]) {
      if (canvas.width === width && canvas.height === height) continue;
      // Setting a canvas's size clears it.
      [canvas.width, canvas.height] = [width, height];
      drawn.key = null;
    }
  }

  /**
   * Return one pane, or two of one size, in device pixels.
   *
   * @param {boolean} isBeside
   * @returns {DrawnPane[]}
   */
  function panes(isBeside) {
    const {width, height} = imageCanvas;
    if (!isBeside) return [{left: 0, top: 0, width, height}];
    const gap = Math.round(PANE_GAP * (window.devicePixelRatio || 1));
    const half = Math.max(1, Math.floor((width - gap) / 2));
    return [0, width - half].map(left => ({left, top: 0, width: half, height}));
  }

  function clear() {
    renderer.clear();
    contourCanvas.hidden = true;
    [drawn.key, drawn.grid, drawn.lungs] = [null, null, null];
    drawn.paths.clear();
  }

  /** @param {Float32Array} grid @param {number} level */
  function contourPath(grid, level) {
    let path = drawn.paths.get(level);
    if (!path) {
      path = new Path2D();
      const segments = contourSegments(grid, level);
      for (let at = 0; at < segments.length; at += 4) {
        path.moveTo(segments[at], segments[at + 1]);
        path.lineTo(segments[at + 2], segments[at + 3]);
      }
      drawn.paths.set(level, path);
    }
    return path;
  }

  /** @param {number[][]} outlines */
  function outlinePath(outlines) {
    const path = new Path2D();
    for (const points of outlines) {
      path.moveTo(points[0], points[1]);
      for (let at = 2; at < points.length; at += 2) path.lineTo(points[at], points[at + 1]);
      path.closePath();
    }
    return path;
  }

  /**
   * Draw the contours and the outlines of the lungs, which change with the viewport and the chosen levels, but not with the window.
   *
   * @param {Scene} scene
   */
  function drawContours({image, viewport, panes: where, grid, levels, colormap, lungs}) {
    const contoured = where.filter(pane => pane.hasContours);
    const {scale, x, y, rotation} = viewport;
    const lined = lungs ? where : contoured, place = lined.map(pane => [pane.left, pane.hasContours]);
    const key = [contourCanvas.width, contourCanvas.height, scale, x, y, rotation, levels, place].join();
    if (drawn.key === key && drawn.grid === grid && drawn.lungs === lungs) return;
    if (drawn.grid !== grid) drawn.paths.clear();
    [drawn.key, drawn.grid, drawn.lungs] = [key, grid, lungs];
    // A hidden canvas costs nothing at each frame.
    contourCanvas.hidden = !lined.length;
    const context = /** @type {CanvasRenderingContext2D} */ (contourCanvas.getContext("2d"));
    const ratio = window.devicePixelRatio || 1;
    context.clearRect(0, 0, contourCanvas.width, contourCanvas.height);
    for (const pane of lined) {
      context.save();
      context.beginPath();
      context.rect(pane.left, pane.top, pane.width, pane.height);
      context.clip();
      context.translate(pane.left, pane.top);
      context.lineCap = "round";
      for (const level of grid && pane.hasContours ? levels : []) {
        const path = new Path2D(), at = 3 * Math.round(level * 255);
        path.addPath(contourPath(/** @type {Float32Array} */ (grid), level),
          new DOMMatrix(unitToPane(viewport, image)));
        const colour = `rgb(${colormap[at]},${colormap[at + 1]},${colormap[at + 2]})`;
        // The dark edge keeps a bright line visible on bone.
        for (const [style, width] of /** @type {[string, number][]} */ ([["#000", 4], [colour, 2]])) {
          [context.strokeStyle, context.lineWidth] = [style, width * ratio];
          context.stroke(path);
        }
      }
      if (lungs) {
        const path = new Path2D();
        path.addPath(outlinePath(lungs), new DOMMatrix(unitToPane(viewport, image)));
        // Dashed, so that it is no contour of the evidence, in greyscale neither.
        for (const [style, width, dash] of /** @type {[string, number, number[]][]} */ (
          [["#000b", 3.5, []], ["#d7dde5", 1.5, [6, 4]]])) {
          [context.strokeStyle, context.lineWidth] = [style, width * ratio];
          context.setLineDash(dash.map(one => one * ratio));
          context.stroke(path);
        }
        context.setLineDash([]);
      }
      context.restore();
    }
  }

  build();
  const observer = new ResizeObserver(() => {
    measure();
    onResize();
  });
  observer.observe(element);
  return {
    panes,
    clear,
    /** @param {Scene} scene */
    render(scene) {
      renderer.render(scene);
      drawContours(scene);
      element.dataset.frames = String(Number(element.dataset.frames ?? 0) + 1);
    },
    destroy() {
      observer.disconnect();
      renderer.destroy();
      imageCanvas.remove();
      contourCanvas.remove();
    },
  };
}
