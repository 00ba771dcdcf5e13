import assert from "node:assert/strict";
import {describe, test} from "node:test";

import {
  GRID, contourSegments, cubicWeights, evidenceAt, evidenceGrid,
} from "../../../../pages/reading/viewer_component/evidence.js";

const CELLS = Array.from({length: 8}, (_, row) => Array.from({length: 8}, (_, column) =>
  2 * Math.exp(-((row - 4) ** 2 + (column - 2) ** 2) / 2) - Math.exp(-((row - 2) ** 2 + (column - 6) ** 2) / 2)));

/** A grid of a function over the unit square. */
const gridOf = f => Float32Array.from({length: GRID * GRID}, (_, index) =>
  f(((index % GRID) + 0.5) / GRID, (Math.floor(index / GRID) + 0.5) / GRID));

describe("interpolation", () => {
  test("weights add up to 1 and pass through the cells", () => {
    const weights = cubicWeights(8, 24);
    for (let index = 0; index < 24; index++) {
      const line = weights.slice(8 * index, 8 * index + 8);
      assert.ok(Math.abs(line.reduce((sum, one) => sum + one, 0) - 1) < 1e-12);
      // Every third of 24 points is the centre of one of 8 cells.
      if (index % 3 === 1) assert.ok(Math.abs(line[(index - 1) / 3] - 1) < 1e-12);
    }
  });

  test("uniform cells give a uniform map", () => {
    assert.ok(evidenceGrid([[3, 3], [3, 3]], 3, false).every(value => Math.abs(value - 1) < 1e-6));
  });

  test("each sign has its own map, and neither is negative or above 1", () => {
    const [raises, lowers] = [evidenceGrid(CELLS, 2, false), evidenceGrid(CELLS, 1, true)];
    for (const grid of [raises, lowers]) assert.ok(grid.every(value => value >= 0 && value <= 1));
    assert.ok(evidenceAt(raises, 2.5 / 8, 4.5 / 8) > 0.95 && evidenceAt(raises, 6.5 / 8, 2.5 / 8) < 0.05);
    assert.ok(evidenceAt(lowers, 6.5 / 8, 2.5 / 8) > 0.9 && evidenceAt(lowers, 2.5 / 8, 4.5 / 8) < 0.05);
  });

  test("a sign without evidence gives an empty map", () => {
    assert.ok(evidenceGrid(CELLS.map(row => row.map(cell => -Math.abs(cell))), 0, false).every(value => value === 0));
  });

  test("is linear between the points of the grid and constant beyond the outermost", () => {
    const grid = gridOf((x, y) => (x + 2 * y) / 3);
    for (const [x, y] of [[0.3, 0.7], [0.501, 0.499], [0.9, 0.05]])
      assert.ok(Math.abs(evidenceAt(grid, x, y) - (x + 2 * y) / 3) < 1e-6);
    assert.equal(evidenceAt(grid, 0, 0), grid[0]);
    assert.equal(evidenceAt(grid, 1, 1), grid[GRID * GRID - 1]);
  });
});

describe("contours", () => {
  test("run where the evidence is their level", () => {
    const grid = evidenceGrid(CELLS, 2, false);
    for (const level of [0.2, 0.4, 0.6, 0.8, 0.9]) {
      const segments = contourSegments(grid, level);
      assert.ok(segments.length > 40 * 4);
      for (let at = 0; at < segments.length; at += 2)
        assert.ok(Math.abs(evidenceAt(grid, segments[at], segments[at + 1]) - level) < 1e-3);
    }
  });

  test("enclose the region of higher evidence in one closed line", () => {
    const radius = 0.3, segments = contourSegments(gridOf((x, y) => 1 - Math.hypot(x - 0.5, y - 0.5)), 1 - radius);
    const ends = new Map();
    let length = 0;
    for (let at = 0; at < segments.length; at += 4) {
      const [x1, y1, x2, y2] = segments.slice(at, at + 4);
      length += Math.hypot(x1 - x2, y1 - y2);
      for (const end of [`${x1.toFixed(9)} ${y1.toFixed(9)}`, `${x2.toFixed(9)} ${y2.toFixed(9)}`])
        ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    assert.ok(Math.abs(length - 2 * Math.PI * radius) < 0.01);
    assert.ok([...ends.values()].every(count => count === 2));
  });

  test("stay open at the border of the image", () => {
    const segments = contourSegments(gridOf(x => x), 0.25);
    const ys = [];
    for (let at = 0; at < segments.length; at += 2) {
      assert.ok(Math.abs(segments[at] - 0.25) < 1e-6);
      ys.push(segments[at + 1]);
    }
    assert.deepEqual([Math.min(...ys), Math.max(...ys)], [0, 1]);
  });

  test("keep the high corners of a saddle apart", () => {
    const grid = new Float32Array(GRID * GRID);
    const at = (x, y) => y * GRID + x;
    grid[at(100, 100)] = grid[at(101, 101)] = 1;
    const segments = contourSegments(grid, 0.5);
    // Two closed lines of four segments each.
    assert.equal(segments.length, 8 * 4);
    for (let from = 0; from < segments.length; from += 4) {
      const [x1, y1, x2, y2] = segments.slice(from, from + 4).map(place => place * GRID - 0.5);
      const near = Math.min(
        Math.hypot((x1 + x2) / 2 - 100, (y1 + y2) / 2 - 100), Math.hypot((x1 + x2) / 2 - 101, (y1 + y2) / 2 - 101));
      assert.ok(near < 0.5);
    }
  });

  test("of an empty map are none", () => {
    assert.deepEqual(contourSegments(new Float32Array(GRID * GRID), 0.2), []);
  });
});
