import assert from "node:assert/strict";
import {describe, test} from "node:test";

import {LUT_MAX, dragVoi, fillDisplayLut, presetVoi} from "../../../../pages/reading/viewer_component/voi_lut.js";

const lut = (voi, invert = false, length = 256) => fillDisplayLut(new Uint8Array(length), voi, invert);
const linear = (windowCenter, windowWidth) => ({windowCenter, windowWidth, voiLut: null, inputLut: null});

describe("a linear window, DICOM PS3.3 C.11.2.1.2.1", () => {
  test("the full range of 8 bits leaves every value as it is", () => {
    assert.deepEqual([...lut(linear(128, 256))], Array.from({length: 256}, (_, value) => value));
  });

  test("is black up to c - 0.5 - (w - 1) / 2 and white from c - 0.5 + (w - 1) / 2", () => {
    const table = lut(linear(2048, 4096), false, 5000);
    assert.deepEqual([table[0], table[4095], table[4999]], [0, 255, 255]);
    const narrow = lut(linear(100, 11), false, 200);
    assert.deepEqual([narrow[94], narrow[95], narrow[104], narrow[105]], [0, 13, 242, 255]);
  });

  test("of width 2 is a threshold", () => {
    assert.deepEqual([...lut(linear(10, 2)).slice(7, 13)], [0, 0, 0, 255, 255, 255]);
  });

  test("inverts", () => {
    const plain = lut(linear(90, 60)), inverted = lut(linear(90, 60), true);
    assert.ok(plain.every((display, value) => inverted[value] === 255 - display));
  });
});

describe("tables of the file", () => {
  const table = Uint16Array.from({length: 1024}, (_, value) => Math.round(LUT_MAX * (value / 1023)));
  const curve = Uint16Array.from({length: 1024}, (_, value) => Math.round(LUT_MAX * (value / 1023) ** 2));
  const preset = {name: "Chest", windowCenter: 500, windowWidth: 900, rendering: 1, isLut: true};

  test("are used exactly until the window is changed, then windowed", () => {
    const voi = presetVoi(preset, [table, curve]);
    const exact = lut(voi, false, 1024);
    assert.deepEqual([...exact], [...curve].map(value => Math.round(value / 257)));
    const dragged = dragVoi(voi, 0, 0, LUT_MAX + 1);
    assert.equal(dragged.voiLut, null);
    assert.ok(lut(dragged, false, 1024).every((display, value) => Math.abs(display - exact[value]) <= 1));
    const narrower = lut(dragVoi(voi, -220, 0, LUT_MAX + 1), false, 1024);
    assert.ok(narrower[300] < exact[300] && narrower[900] > exact[900]);
  });

  test("with a linear window, dragging starts from that window", () => {
    const voi = presetVoi({...preset, isLut: false}, [table, curve]);
    assert.deepEqual(voi, {windowCenter: 500, windowWidth: 900, voiLut: curve, inputLut: null});
    assert.deepEqual(dragVoi(voi, 0, 0, 1024), linear(500, 900));
  });

  test("beyond their length continue with their last value", () => {
    const last = lut({...linear(1, 2), voiLut: Uint16Array.from([0, LUT_MAX])}, false, 4);
    assert.deepEqual([...last], [0, 255, 255, 255]);
  });

  test("not there yet, and generic presets, are plain windows", () => {
    assert.deepEqual(presetVoi(preset, []), linear(500, 900));
    assert.deepEqual(presetVoi({...preset, rendering: null, isLut: false}, [table, curve]), linear(500, 900));
  });
});

describe("dragging", () => {
  test("right lowers contrast, up is brighter", () => {
    assert.ok(dragVoi(linear(500, 900), 100, 0, 1024).windowWidth > 900);
    assert.ok(dragVoi(linear(500, 900), -100, 0, 1024).windowWidth < 900);
    assert.ok(dragVoi(linear(500, 900), 0, -100, 1024).windowCenter < 500);
    assert.equal(dragVoi(linear(500, 900), 0, -100, 1024).windowWidth, 900);
  });

  test("has the same effect at any depth", () => {
    const [eight, sixteen] = [[128, 256, 256], [32768, 65536, 65536]].map(([center, width, range]) => {
      const voi = dragVoi(linear(center, width), 70, 40, range);
      return [voi.windowCenter / range, voi.windowWidth / range];
    });
    assert.ok(Math.abs(eight[0] - sixteen[0]) < 1e-9 && Math.abs(eight[1] - sixteen[1]) < 1e-9);
  });

  test("stays within a width of 2 and four times, and a centre of one to two times the range", () => {
    assert.equal(dragVoi(linear(500, 900), -1e5, 0, 1024).windowWidth, 2);
    assert.equal(dragVoi(linear(500, 900), 1e4, 0, 1024).windowWidth, 4096);
    assert.equal(dragVoi(linear(500, 900), 0, 1e6, 1024).windowCenter, 2048);
    assert.equal(dragVoi(linear(500, 900), 0, -1e6, 1024).windowCenter, -1024);
  });
});

test("a difference that 8 bits lose is visible in a narrow window", () => {
  const full = lut(linear(32768, 65536), false, 65536), narrow = lut(linear(30030, 600), false, 65536);
  assert.ok(Math.abs(full[30060] - full[30000]) <= 1);
  assert.ok(narrow[30060] - narrow[30000] > 10);
});
