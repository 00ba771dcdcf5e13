/**
 * The evidence map from the network's few cells: the same map as `model.explanation` draws for the report.
 *
 * @module evidence
 */

/** Points along each side of the interpolated map. */
export const GRID = 512;

/**
 * Return the weight of each cell at each of `size` points, row by row.
 *
 * Cubic convolution with a = -1/2 (Keys 1981), mirrored about the centres of the outermost cells; the same as
 * `model.explanation`.
 *
 * @param {number} cells
 * @param {number} size
 * @returns {Float64Array} size × cells
 */
export function cubicWeights(cells, size) {
  const weights = new Float64Array(size * cells);
  for (let index = 0; index < size; index++) {
    const position = Math.min(Math.max(((index + 0.5) * cells) / size - 0.5, 0), cells - 1);
    const first = Math.floor(position);
    for (const step of [-1, 0, 1, 2]) {
      const d = Math.abs(position - (first + step));
      const kernel = d <= 1 ? (1.5 * d - 2.5) * d * d + 1 : d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
      const mirrored = cells - 1 - Math.abs(cells - 1 - Math.abs(first + step));
      weights[index * cells + Math.min(Math.max(mirrored, 0), cells - 1)] += kernel;
    }
  }
  return weights;
}

/**
 * Return the evidence in [0, 1] at GRID × GRID points, for one sign of the cells, divided by its maximum.
 *
 * @param {number[][]} cells signed: positive cells raise the probability
 * @param {number} maximum greatest value of that sign over the image's own pixels; 0 where no region has it
 * @param {boolean} against whether the map of what lowers the probability is wanted
 * @returns {Float32Array}
 */
export function evidenceGrid(cells, maximum, against) {
  const rows = cells.length, columns = cells[0].length, sign = against ? -1 : 1;
  const down = cubicWeights(rows, GRID), across = cubicWeights(columns, GRID);
  const grid = new Float32Array(GRID * GRID), line = new Float64Array(columns);
  if (!(maximum > 0)) return grid;
  for (let y = 0; y < GRID; y++) {
    for (let column = 0; column < columns; column++) {
      line[column] = 0;
      for (let row = 0; row < rows; row++)
        line[column] += down[y * rows + row] * Math.max(sign * cells[row][column], 0);
    }
    for (let x = 0; x < GRID; x++) {
      let value = 0;
      for (let column = 0; column < columns; column++) value += across[x * columns + column] * line[column];
      grid[y * GRID + x] = Math.min(Math.max(value / maximum, 0), 1);
    }
  }
  return grid;
}

/**
 * Return the evidence at a point, bilinear between the points of the grid.
 *
 * @param {Float32Array} grid
 * @param {number} across in [0, 1] of the image's width
 * @param {number} down in [0, 1] of the image's height
 */
export function evidenceAt(grid, across, down) {
  const [x, y] = [across, down].map(place => Math.min(Math.max(place * GRID - 0.5, 0), GRID - 1));
  const x0 = Math.floor(x), y0 = Math.floor(y), x1 = Math.min(x0 + 1, GRID - 1), y1 = Math.min(y0 + 1, GRID - 1);
  const upper = grid[y0 * GRID + x0] * (1 - x + x0) + grid[y0 * GRID + x1] * (x - x0);
  const lower = grid[y1 * GRID + x0] * (1 - x + x0) + grid[y1 * GRID + x1] * (x - x0);
  return upper * (1 - y + y0) + lower * (y - y0);
}

/**
 * Return the contour at which the evidence is `level`, as line segments over the unit square (marching squares).
 *
 * A region that reaches the image's border stays open there. A saddle is cut so that its high corners stay apart.
 *
 * @param {Float32Array} grid
 * @param {number} level
 * @returns {number[]} x1, y1, x2, y2 for each segment
 */
export function contourSegments(grid, level) {
  /** @type {number[]} */
  const segments = [];
  // The outermost points' values continue up to the border.
  /** @type {(index: number) => number} */
  const place = index => Math.min(Math.max((index + 0.5) / GRID, 0), 1);
  /** @type {(x: number, y: number) => number} */
  const value = (x, y) => grid[Math.min(Math.max(y, 0), GRID - 1) * GRID + Math.min(Math.max(x, 0), GRID - 1)];
  for (let y = -1; y < GRID; y++) {
    for (let x = -1; x < GRID; x++) {
      const a = value(x, y), b = value(x + 1, y), c = value(x + 1, y + 1), d = value(x, y + 1);
      const corners = Number(a >= level) + 2 * Number(b >= level) + 4 * Number(c >= level) + 8 * Number(d >= level);
      if (corners === 0 || corners === 15) continue;
      const left = place(x), right = place(x + 1), top = place(y), bottom = place(y + 1);
      /** @type {(from: number, to: number, one: number, other: number) => number} */
      const between = (from, to, one, other) => from + ((to - from) * (level - one)) / (other - one);
      const north = () => [between(left, right, a, b), top], south = () => [between(left, right, d, c), bottom];
      const west = () => [left, between(top, bottom, a, d)], east = () => [right, between(top, bottom, b, c)];
      if (corners === 5) segments.push(...west(), ...north(), ...south(), ...east());
      else if (corners === 10) segments.push(...north(), ...east(), ...west(), ...south());
      else if (corners === 1 || corners === 14) segments.push(...west(), ...north());
      else if (corners === 2 || corners === 13) segments.push(...north(), ...east());
      else if (corners === 4 || corners === 11) segments.push(...east(), ...south());
      else if (corners === 8 || corners === 7) segments.push(...south(), ...west());
      else if (corners === 3 || corners === 12) segments.push(...west(), ...east());
      else segments.push(...north(), ...south());
    }
  }
  return segments;
}
