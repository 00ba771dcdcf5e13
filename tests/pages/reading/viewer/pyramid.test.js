import assert from "node:assert/strict";
import {test} from "node:test";

import {addLevels, closestLevel, emptyHalf, halveRows} from "../../../../pages/reading/viewer_component/pyramid.js";

const level = (width, height, values) => ({width, height, pixelData: Uint16Array.from(values), scale: [1, 1]});

function halved(one) {
  const half = emptyHalf(one);
  halveRows(one, half, 0, half.height);
  return half;
}

test("each pixel of a smaller copy is the mean of the four that it covers", () => {
  const half = halved(level(4, 2, [0, 4, 100, 200, 8, 12, 300, 401]));
  assert.deepEqual([half.width, half.height, ...half.pixelData], [2, 1, 6, 250]);
  assert.deepEqual(half.scale, [0.5, 0.5]);
});

test("at an odd edge, of the two or the one", () => {
  const half = halved(level(3, 3, [0, 2, 10, 4, 6, 20, 50, 60, 65535]));
  assert.deepEqual([half.width, half.height, ...half.pixelData], [2, 2, 3, 15, 55, 65535]);
});

test("copies are added until both sides are at most 256 pixels", async () => {
  const levels = [level(1100, 700, new Array(1100 * 700).fill(9))];
  await addLevels(levels, new AbortController().signal);
  assert.deepEqual(levels.map(({width, height}) => [width, height]), [[1100, 700], [550, 350], [275, 175], [138, 88]]);
  assert.ok(levels.at(-1).pixelData.every(value => value === 9));
});

test("the copy is chosen whose pixels are closest to the screen's", () => {
  const levels = [1, 0.5, 0.25].map(scale => ({scale: [scale, scale]}));
  assert.deepEqual([4, 1, 0.8, 0.6, 0.3, 0.01].map(scale => closestLevel(levels, scale).scale[0]),
    [1, 1, 1, 0.5, 0.25, 0.25]);
});
