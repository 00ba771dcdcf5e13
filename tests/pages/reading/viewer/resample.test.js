import assert from "node:assert/strict";
import {describe, test} from "node:test";

import {
  colourPixels, grayPixels, resample, samplePositions, tintTable,
} from "../../../../pages/reading/viewer_component/resample.js";
import {imageAxes} from "../../../../pages/reading/viewer_component/viewport.js";

const IMAGE = {width: 3, height: 2}, VALUES = Uint16Array.from([1, 2, 3, 40, 50, 60000]);

/** Values of a pane at 100 %, with -1 where the image is not. */
function shown(viewport, pane) {
  const axes = imageAxes(viewport, IMAGE), sides = axes.map(({axis}) => axis === 0 ? pane.width : pane.height);
  const found = [samplePositions(sides[0], axes[0], 3, 1, 3, 1), samplePositions(sides[1], axes[1], 2, 1, 2, 3)];
  const [columns, rows] = axes[0].axis === 0 ? found : found.reverse();
  const values = resample(VALUES, columns, rows, new Uint16Array(pane.width * pane.height), 1);
  return Array.from({length: pane.height}, (_, y) => Array.from({length: pane.width}, (_, x) =>
    x >= columns.from && x < columns.to && y >= rows.from && y < rows.to ? values[y * pane.width + x] : -1));
}

describe("at 100 %", () => {
  const viewport = {scale: 1, x: 0, y: 0, rotation: 0, isFit: false};

  test("every pixel of the image is one of the screen, in every rotation", () => {
    assert.deepEqual(shown(viewport, IMAGE), [[1, 2, 3], [40, 50, 60000]]);
    const turned = {width: 2, height: 3};
    assert.deepEqual(shown({...viewport, rotation: 90}, turned), [[40, 1], [50, 2], [60000, 3]]);
    assert.deepEqual(shown({...viewport, rotation: 180}, IMAGE), [[60000, 50, 40], [3, 2, 1]]);
    assert.deepEqual(shown({...viewport, rotation: 270}, turned), [[3, 60000], [2, 50], [1, 40]]);
  });

  test("nothing is drawn beside the image", () => {
    assert.deepEqual(shown({...viewport, x: 1, y: 1}, {width: 5, height: 4}),
      [[-1, -1, -1, -1, -1], [-1, 1, 2, 3, -1], [-1, 40, 50, 60000, -1], [-1, -1, -1, -1, -1]]);
  });
});

test("between pixels values are interpolated, at the edge they continue", () => {
  const columns = samplePositions(4, {step: 0.5, start: 0}, 2, 1, 2, 1);
  const rows = samplePositions(1, {step: 1, start: 0}, 1, 1, 1, 2);
  assert.deepEqual([...resample([0, 100], columns, rows, new Uint8Array(4), 1)], [0, 25, 75, 100]);
});

describe("colours", () => {
  const colormap = Uint8Array.from({length: 768}, (_, at) => [at / 3, 255 - at / 3, 128][at % 3] | 0);
  const bytes = pixels => [...new Uint8Array(pixels.buffer)];

  test("without an overlay are gray and opaque", () => {
    const grays = grayPixels(Uint8Array.from([0, 77, 255]), new Uint32Array(3));
    const pixels = new Uint32Array(3);
    colourPixels(pixels, 3, [0, 0, 3, 1], [2, 1, 0], grays, null);
    assert.deepEqual(bytes(pixels), [255, 255, 255, 255, 77, 77, 77, 255, 0, 0, 0, 255]);
  });

  test("with an overlay are blended by opacity times evidence", () => {
    const grays = grayPixels(Uint8Array.from({length: 256}, (_, value) => value), new Uint32Array(256));
    for (const opacity of [0.3, 0.5, 1]) {
      const tints = tintTable(colormap, opacity);
      for (const strength of [0, 1, 100, 255]) {
        for (const gray of [0, 90, 255]) {
          const pixels = new Uint32Array(1);
          colourPixels(pixels, 1, [0, 0, 1, 1], [gray], grays, {strength: Uint8Array.from([strength]), tints});
          const share = (opacity * strength) / 255;
          const expected = [0, 1, 2].map(channel => gray + (colormap[3 * strength + channel] - gray) * share);
          const drawn = bytes(pixels);
          assert.equal(drawn[3], 255);
          expected.forEach((one, channel) => assert.ok(Math.abs(drawn[channel] - one) <= 1.5, `${drawn} ${expected}`));
        }
      }
    }
  });

  test("are drawn within the region alone", () => {
    const pixels = new Uint32Array(9);
    colourPixels(pixels, 3, [1, 1, 3, 2], new Uint8Array(9), Uint32Array.from([5]), null);
    assert.deepEqual([...pixels], [0, 0, 0, 0, 5, 5, 0, 0, 0]);
  });
});
