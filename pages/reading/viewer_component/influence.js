// The influence map from the network's few cells: the same map as model.explanation draws for the report.

const GRID = 512;

// Cubic convolution with a = -1/2, mirrored about the outermost cells' centres: model.explanation._weights. Returns
// size x cells.
function cubicWeights(cells, size) {
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

// Influence in [0, 1] at GRID x GRID points, one side of the signed cells over the greatest influence of that side.
function influenceGrid(cells, greatest, against) {
  const rows = cells.length, columns = cells[0].length, sign = against ? -1 : 1;
  const down = cubicWeights(rows, GRID), across = cubicWeights(columns, GRID);
  const grid = new Float32Array(GRID * GRID), line = new Float64Array(columns);
  if (!(greatest > 0)) return grid;
  for (let y = 0; y < GRID; y++) {
    for (let column = 0; column < columns; column++) {
      line[column] = 0;
      for (let row = 0; row < rows; row++)
        line[column] += down[y * rows + row] * Math.max(sign * cells[row][column], 0);
    }
    for (let x = 0; x < GRID; x++) {
      let value = 0;
      for (let column = 0; column < columns; column++) value += across[x * columns + column] * line[column];
      grid[y * GRID + x] = Math.min(Math.max(value / greatest, 0), 1);
    }
  }
  return grid;
}

// Influence at a place, both coordinates in [0, 1] of the film's sides.
function influenceAt(grid, across, down) {
  const [x, y] = [across, down].map(place => Math.min(Math.max(place * GRID - 0.5, 0), GRID - 1));
  const x0 = Math.floor(x), y0 = Math.floor(y), x1 = Math.min(x0 + 1, GRID - 1), y1 = Math.min(y0 + 1, GRID - 1);
  const upper = grid[y0 * GRID + x0] * (1 - x + x0) + grid[y0 * GRID + x1] * (x - x0);
  const lower = grid[y1 * GRID + x0] * (1 - x + x0) + grid[y1 * GRID + x1] * (x - x0);
  return upper * (1 - y + y0) + lower * (y - y0);
}

// The lines at which influence is `level`, as a path over the unit square. A region that reaches the film's border is
// open there: no line runs along the border. Marching squares; a saddle is cut so that its high corners stay apart.
function contourPath(grid, level) {
  const path = new Path2D();
  // The points' places, and the border itself, up to which the outermost points' values continue.
  const place = index => Math.min(Math.max((index + 0.5) / GRID, 0), 1);
  const value = (x, y) => grid[Math.min(Math.max(y, 0), GRID - 1) * GRID + Math.min(Math.max(x, 0), GRID - 1)];
  for (let y = -1; y < GRID; y++) {
    for (let x = -1; x < GRID; x++) {
      const a = value(x, y), b = value(x + 1, y), c = value(x + 1, y + 1), d = value(x, y + 1);
      const corners = (a >= level) + 2 * (b >= level) + 4 * (c >= level) + 8 * (d >= level);
      if (corners === 0 || corners === 15) continue;
      const left = place(x), right = place(x + 1), top = place(y), bottom = place(y + 1);
      const between = (from, to, one, other) => from + ((to - from) * (level - one)) / (other - one);
      const north = () => [between(left, right, a, b), top], south = () => [between(left, right, d, c), bottom];
      const west = () => [left, between(top, bottom, a, d)], east = () => [right, between(top, bottom, b, c)];
      const draw = (from, to) => {
        path.moveTo(...from);
        path.lineTo(...to);
      };
      if (corners === 5) draw(west(), north()), draw(south(), east());
      else if (corners === 10) draw(north(), east()), draw(west(), south());
      else if (corners === 1 || corners === 14) draw(west(), north());
      else if (corners === 2 || corners === 13) draw(north(), east());
      else if (corners === 4 || corners === 11) draw(east(), south());
      else if (corners === 8 || corners === 7) draw(south(), west());
      else if (corners === 3 || corners === 12) draw(west(), east());
      else draw(north(), south());
    }
  }
  return path;
}
