/**
 * The viewport: which part of an image a pane shows, by zoom, pan and rotation. Lengths on the screen are device pixels.
 *
 * @module viewport
 */

/**
 * @typedef {{width: number, height: number}} Size
 * @typedef {{left: number, top: number, width: number, height: number}} Pane
 *
 * @typedef {object} Viewport
 * @property {number} scale device pixels per image pixel
 * @property {number} x left edge of the rotated image in its pane
 * @property {number} y top edge of the rotated image in its pane
 * @property {number} rotation clockwise, in degrees: 0, 90, 180 or 270
 * @property {boolean} isFit whether the image follows the size of its pane
 *
 * @typedef {object} Axis
 * @property {0 | 1} axis the axis of the pane along which an axis of the image runs: 0 for x, 1 for y
 * @property {number} step image pixels per device pixel, negative where the axes run in opposite directions
 * @property {number} start image coordinate at the pane's origin
 */

export const MAX_SCALE = 16;

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * @param {Size} image
 * @param {number} rotation
 * @returns {[number, number]} width and height after rotation
 */
export const rotatedSize = (image, rotation) =>
  rotation % 180 ? [image.height, image.width] : [image.width, image.height];

/**
 * Return the viewport that shows the whole image in the middle of its pane.
 *
 * @param {Size} image
 * @param {Size} pane
 * @param {number} rotation
 * @returns {Viewport}
 */
export function fitViewport(image, pane, rotation) {
  const [width, height] = rotatedSize(image, rotation);
  const scale = Math.min(pane.width / width, pane.height / height);
  // Whole device pixels, so that at 100 % each image pixel is exactly one of the screen's.
  const [x, y] = [(pane.width - width * scale) / 2, (pane.height - height * scale) / 2].map(Math.round);
  return {scale, x, y, rotation, isFit: true};
}

/**
 * Zoom to `scale` with the point (left, top) of the pane kept in place.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @param {Size} pane
 * @param {number} scale
 * @param {number} left
 * @param {number} top
 * @returns {Viewport}
 */
export function zoomViewport(viewport, image, pane, scale, left, top) {
  const smallest = Math.min(fitViewport(image, pane, viewport.rotation).scale, 1);
  const next = clamp(scale, smallest, MAX_SCALE);
  const x = left - ((left - viewport.x) * next) / viewport.scale;
  const y = top - ((top - viewport.y) * next) / viewport.scale;
  return constrainViewport({...viewport, scale: next, isFit: false, x, y}, image, pane);
}

/**
 * @param {Viewport} viewport
 * @param {Size} image
 * @param {Size} pane
 * @param {number} right
 * @param {number} down
 * @returns {Viewport}
 */
export const panViewport = (viewport, image, pane, right, down) =>
  constrainViewport({...viewport, isFit: false, x: viewport.x + right, y: viewport.y + down}, image, pane);

/**
 * Centre the image along each side where it is smaller than its pane; leave no empty margin along the others.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @param {Size} pane
 * @returns {Viewport}
 */
export function constrainViewport(viewport, image, pane) {
  const [width, height] = rotatedSize(image, viewport.rotation).map(side => side * viewport.scale);
  /** @type {(at: number, size: number, room: number) => number} */
  const constrained = (at, size, room) => Math.round(size <= room ? (room - size) / 2 : clamp(at, room - size, 0));
  return {...viewport, x: constrained(viewport.x, width, pane.width), y: constrained(viewport.y, height, pane.height)};
}

/**
 * Rotate 90° clockwise about the middle of the pane.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @param {Size} pane
 * @returns {Viewport}
 */
export function rotateViewport(viewport, image, pane) {
  const rotation = (viewport.rotation + 90) % 360;
  if (viewport.isFit) return fitViewport(image, pane, rotation);
  const width = rotatedSize(image, rotation)[0] * viewport.scale;
  const across = pane.width / 2 - viewport.x, down = pane.height / 2 - viewport.y;
  const rotated = {...viewport, rotation, x: pane.width / 2 - (width - down), y: pane.height / 2 - across};
  return constrainViewport(rotated, image, pane);
}

/**
 * Return how each axis of the image, columns first, runs in the pane.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @returns {[Axis, Axis]}
 */
export function imageAxes(viewport, image) {
  const step = 1 / viewport.scale, x = -viewport.x * step, y = -viewport.y * step;
  /** @type {(axis: 0 | 1, start: number) => Axis} */
  const forward = (axis, start) => ({axis, step, start});
  /** @type {(axis: 0 | 1, start: number, length: number) => Axis} */
  const backward = (axis, start, length) => ({axis, step: -step, start: length - start});
  if (viewport.rotation === 90) return [forward(1, y), backward(0, x, image.height)];
  if (viewport.rotation === 180) return [backward(0, x, image.width), backward(1, y, image.height)];
  if (viewport.rotation === 270) return [backward(1, y, image.width), forward(0, x)];
  return [forward(0, x), forward(1, y)];
}

/**
 * Return the image coordinates [column, row], with fractions, at a point of the pane; they can lie outside the image.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @param {number} left
 * @param {number} top
 * @returns {[number, number]}
 */
export function canvasToImage(viewport, image, left, top) {
  const [columns, rows] = imageAxes(viewport, image);
  /** @type {(axis: Axis) => number} */
  const at = ({axis, step, start}) => (axis === 0 ? left : top) * step + start;
  return [at(columns), at(rows)];
}

/**
 * Return the rectangle of the image that the pane shows.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @param {Size} pane
 * @returns {[number, number, number, number]} left, top, right and bottom within the image
 */
export function visibleRegion(viewport, image, pane) {
  const one = canvasToImage(viewport, image, 0, 0), other = canvasToImage(viewport, image, pane.width, pane.height);
  return [
    clamp(Math.min(one[0], other[0]), 0, image.width), clamp(Math.min(one[1], other[1]), 0, image.height),
    clamp(Math.max(one[0], other[0]), 0, image.width), clamp(Math.max(one[1], other[1]), 0, image.height),
  ];
}

/**
 * Return the affine transform from the unit square over the image to the pane, as the six numbers of a DOMMatrix.
 *
 * @param {Viewport} viewport
 * @param {Size} image
 * @returns {[number, number, number, number, number, number]}
 */
export function unitToPane(viewport, image) {
  const {scale, x, y, rotation} = viewport;
  const width = image.width * scale, height = image.height * scale;
  if (rotation === 90) return [0, width, -height, 0, x + height, y];
  if (rotation === 180) return [-width, 0, 0, -height, x + width, y + height];
  if (rotation === 270) return [0, -width, height, 0, x, y + width];
  return [width, 0, 0, height, x, y];
}
