import assert from "node:assert/strict";
import {describe, test} from "node:test";

import {
  MAX_SCALE, canvasToImage, constrainViewport, fitViewport, panViewport, rotateViewport, unitToPane, visibleRegion,
  zoomViewport,
} from "../../../../pages/reading/viewer_component/viewport.js";

const IMAGE = {width: 400, height: 300}, PANE = {width: 601, height: 500};
const ROTATIONS = [0, 90, 180, 270];

describe("fit", () => {
  test("shows the whole image in the middle, at whole device pixels", () => {
    const viewport = fitViewport(IMAGE, PANE, 0);
    assert.equal(viewport.scale, 601 / 400);
    assert.deepEqual([viewport.x, viewport.y, viewport.isFit], [0, 25, true]);
    assert.deepEqual(fitViewport(IMAGE, PANE, 90), {scale: 500 / 400, x: 113, y: 0, rotation: 90, isFit: true});
  });

  test("shows all of the image in every rotation", () => {
    for (const rotation of ROTATIONS)
      assert.deepEqual(visibleRegion(fitViewport(IMAGE, PANE, rotation), IMAGE, PANE), [0, 0, 400, 300]);
  });
});

describe("zoom", () => {
  test("keeps the point under the pointer in place", () => {
    for (const rotation of ROTATIONS) {
      const viewport = fitViewport(IMAGE, {width: 200, height: 200}, rotation), pane = {width: 200, height: 200};
      const before = canvasToImage(viewport, IMAGE, 90, 120);
      const after = canvasToImage(zoomViewport(viewport, IMAGE, pane, 4, 90, 120), IMAGE, 90, 120);
      // The image's corner stays on whole device pixels: at most half of one, of four for each image pixel.
      assert.ok(Math.abs(before[0] - after[0]) <= 0.13 && Math.abs(before[1] - after[1]) <= 0.13, `${before} ${after}`);
    }
  });

  test("is limited to the whole image, or 100 % of a small one, and to the greatest scale", () => {
    const pane = {width: 200, height: 200}, large = fitViewport(IMAGE, pane, 0);
    assert.equal(zoomViewport(large, IMAGE, pane, 0.01, 0, 0).scale, large.scale);
    assert.equal(zoomViewport(large, IMAGE, pane, 99, 0, 0).scale, MAX_SCALE);
    const small = {width: 20, height: 10};
    assert.equal(zoomViewport(fitViewport(small, pane, 0), small, pane, 0.01, 0, 0).scale, 1);
  });

  test("at 100 % each image pixel is one device pixel", () => {
    const viewport = zoomViewport(fitViewport(IMAGE, PANE, 0), IMAGE, PANE, 1, PANE.width / 2, PANE.height / 2);
    assert.deepEqual(viewport, {scale: 1, x: 101, y: 100, rotation: 0, isFit: false});
    assert.deepEqual(canvasToImage(viewport, IMAGE, 101.5, 100.5), [0.5, 0.5]);
  });
});

describe("pan", () => {
  test("moves the image and leaves no empty margin", () => {
    const viewport = {scale: 4, x: -300, y: -300, rotation: 0, isFit: false};
    assert.deepEqual(panViewport(viewport, IMAGE, PANE, 40, -20), {...viewport, x: -260, y: -320});
    assert.deepEqual(panViewport(viewport, IMAGE, PANE, 9999, 9999), {...viewport, x: 0, y: 0});
    assert.deepEqual(panViewport(viewport, IMAGE, PANE, -9999, -9999), {...viewport, x: 601 - 1600, y: 500 - 1200});
  });

  test("keeps an image that is smaller than its pane in the middle", () => {
    const viewport = {scale: 1, x: 0, y: 0, rotation: 90, isFit: false};
    assert.deepEqual(constrainViewport(viewport, IMAGE, PANE), {...viewport, x: 151, y: 50});
  });
});

describe("rotation", () => {
  test("a quarter turn clockwise brings the image's left edge to the top", () => {
    const viewport = rotateViewport(fitViewport(IMAGE, {width: 300, height: 400}, 0), IMAGE, {width: 300, height: 400});
    assert.equal(viewport.rotation, 90);
    // Top left of the pane: first column, last row.
    assert.deepEqual(canvasToImage(viewport, IMAGE, 0.5, 0.5), [0.5, 299.5]);
  });

  test("four quarter turns are none", () => {
    const pane = {width: 300, height: 300};
    const start = zoomViewport(fitViewport(IMAGE, pane, 0), IMAGE, pane, 3, 100, 80);
    let viewport = start;
    for (let turn = 0; turn < 4; turn++) viewport = rotateViewport(viewport, IMAGE, pane);
    assert.deepEqual(viewport, start);
  });

  test("keeps the middle of the pane in place", () => {
    const pane = {width: 300, height: 200};
    const start = zoomViewport(fitViewport(IMAGE, pane, 0), IMAGE, pane, 4, 150, 100);
    const middle = canvasToImage(start, IMAGE, 150, 100);
    const after = canvasToImage(rotateViewport(start, IMAGE, pane), IMAGE, 150, 100);
    assert.ok(Math.hypot(after[0] - middle[0], after[1] - middle[1]) < 0.5);
  });
});

test("the transform of paths agrees with the coordinates of pixels", () => {
  for (const rotation of ROTATIONS) {
    const viewport = {scale: 2, x: 7, y: -30, rotation, isFit: false};
    const [a, b, c, d, e, f] = unitToPane(viewport, IMAGE);
    for (const [u, v] of [[0, 0], [1, 0], [0.25, 0.5], [0.9, 0.1]]) {
      const [column, row] = canvasToImage(viewport, IMAGE, a * u + c * v + e, b * u + d * v + f);
      assert.ok(Math.abs(column - 400 * u) < 1e-9 && Math.abs(row - 300 * v) < 1e-9, `${rotation}°`);
    }
  }
});

test("the visible region is what the pane shows and lies within the image", () => {
  const viewport = {scale: 2, x: -100, y: 50, rotation: 0, isFit: false};
  assert.deepEqual(visibleRegion(viewport, IMAGE, {width: 200, height: 200}), [50, 0, 150, 75]);
  assert.deepEqual(visibleRegion({...viewport, rotation: 180}, IMAGE, {width: 200, height: 200}), [250, 225, 350, 300]);
});
