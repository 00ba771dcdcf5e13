// What keys, settings, annotations and flicker decide, without a page.
import assert from "node:assert/strict";
import {describe, test} from "node:test";

import {pixelText, windowText, zoomText} from "../../../../pages/reading/viewer_component/annotations.js";
import {GRID} from "../../../../pages/reading/viewer_component/evidence.js";
import {createFlicker} from "../../../../pages/reading/viewer_component/flicker.js";
import {HELP, KEYS, commandOf} from "../../../../pages/reading/viewer_component/keys.js";
import {changeSettings} from "../../../../pages/reading/viewer_component/settings.js";

describe("keys", () => {
  const here = {isOurs: true, isButton: false, isSlider: false, isMenu: false}, elsewhere = {...here, isOurs: false};
  const press = (key, focus = here, shiftKey = false) => commandOf({key, shiftKey}, focus);

  test("of the table are heard everywhere on the page, in both cases", () => {
    for (const [key, command] of Object.entries(KEYS))
      for (const focus of [here, elsewhere]) assert.equal(press(key.toUpperCase(), focus), command);
  });

  test("1 to 9 choose presets", () => {
    assert.deepEqual(["1", "9"].map(key => press(key)), ["preset:0", "preset:8"]);
    assert.equal(press("0"), "fit");
  });

  test("arrows pan, with Shift set the window, on the slider the opacity", () => {
    assert.equal(press("ArrowRight"), "pan:-60,0");
    assert.equal(press("ArrowUp"), "pan:0,60");
    assert.equal(press("ArrowLeft", here, true), "window:-20,0");
    assert.equal(press("ArrowDown", here, true), "window:0,20");
    assert.equal(press("ArrowUp", {...here, isSlider: true}), "opacity:5");
    assert.equal(press("ArrowLeft", {...here, isSlider: true}), "opacity:-5");
  });

  test("arrows are left to menus, tables and sliders of the page", () => {
    for (const focus of [elsewhere, {...here, isMenu: true}, {...elsewhere, isSlider: true}])
      assert.equal(press("ArrowDown", focus), undefined);
  });

  test("the space bar hides the map, unless it presses a button", () => {
    assert.equal(press(" "), "peek:on");
    assert.equal(press(" ", {...here, isButton: true}), undefined);
    assert.equal(press(" ", elsewhere), undefined);
  });

  test("of the page have no command", () => {
    for (const key of ["n", "p", "y", "d", "u", "Enter", "Tab"]) assert.equal(press(key), undefined);
  });

  test("are all explained", () => {
    for (const [heading, rows] of HELP) {
      assert.ok(heading && rows.length);
      for (const [keys, meaning] of rows) assert.ok(keys && meaning);
    }
  });
});

describe("settings", () => {
  const start = {layout: "beside", mode: "overlay", opacity: 0.5, levels: [0.4, 0.6, 0.8], against: false, lungs: false};
  const after = (...commands) => commands.reduce((settings, [name, argument]) =>
    changeSettings(settings, name, argument), start);

  test("change by one command each and leave the others", () => {
    assert.deepEqual(after(["layout", "flicker"]), {...start, layout: "flicker"});
    assert.deepEqual(after(["mode", "contour"]), {...start, mode: "contour"});
    assert.deepEqual(after(["sign", "against"]), {...start, against: true});
    assert.deepEqual(start.levels, [0.4, 0.6, 0.8]);
  });

  test("toggle by key", () => {
    assert.equal(after(["mode", "other"]).mode, "contour");
    assert.deepEqual(after(["mode", "other"], ["mode", "other"], ["sign", "other"], ["sign", "other"]), start);
    assert.equal(after(["lungs", ""]).lungs, true);
    assert.deepEqual(after(["lungs", ""], ["lungs", ""]), start);
  });

  test("levels are added and taken away, in order", () => {
    assert.deepEqual(after(["level", "0.2"], ["level", "0.6"]).levels, [0.2, 0.4, 0.8]);
    assert.deepEqual(after(["level", "0.2"], ["level", "0.2"]), start);
  });

  test("opacity changes in whole percents and stays between 0 and 100 %", () => {
    assert.equal(after(["opacity", "-10"]).opacity, 0.4);
    assert.equal(after(["opacity", "10"], ["opacity", "10"]).opacity, 0.7);
    assert.equal(after(["opacity", "-90"]).opacity, 0);
    assert.equal(after(["opacityTo", "140"]).opacity, 1);
    assert.equal(after(["opacityTo", "35"]).opacity, 0.35);
  });
});

describe("annotations", () => {
  const voi = {windowCenter: 32000.5, windowWidth: 60001, voiLut: null, inputLut: null};

  test("name window and level, or the table of the file", () => {
    assert.equal(windowText(voi, "As acquired", false), "W 60,001  L 32,001");
    assert.equal(windowText(voi, "As acquired", true), "W 60,001  L 32,001  inverted");
    const table = new Uint16Array(4);
    assert.equal(windowText({...voi, voiLut: table, inputLut: table}, "Chest curve", false), "Chest curve");
    assert.equal(windowText({...voi, voiLut: table}, "Chest", false), "W 60,001  L 32,001");
    assert.equal(windowText({...voi, inputLut: table}, "Chest curve", false), "W 60,001  L 32,001");
  });

  test("name zoom and rotation", () => {
    assert.equal(zoomText({scale: 0.456, x: 0, y: 0, rotation: 0, isFit: true}), "Fit, 46 %");
    assert.equal(zoomText({scale: 1, x: 0, y: 0, rotation: 270, isFit: false}), "100 %, rotated 270°");
  });

  test("name place, value and evidence under the pointer", () => {
    const image = {width: 2, height: 2}, pixels = Uint16Array.from([1, 2, 3, 40000]);
    const grid = new Float32Array(GRID * GRID).fill(0.256);
    assert.equal(pixelText(image, 1, 1, pixels, grid, false), "x 1, y 1, value 40,000, evidence 26 %");
    assert.equal(pixelText(image, 0, 1, pixels, grid, true), "x 0, y 1, value 3, evidence against 26 %");
    assert.equal(pixelText(image, 0, 0, null, null, false), "x 0, y 0, evidence 0 %");
    assert.equal(pixelText(image, 1, 0, pixels, undefined, false), "x 1, y 0, value 2");
  });
});

describe("flicker", () => {
  function flicker() {
    const timers = new Map();
    let changes = 0, next = 0;
    const made = createFlicker(() => changes++, {
      setInterval: run => (timers.set(++next, run), next), clearInterval: timer => timers.delete(timer),
    });
    return {made, timers, changes: () => changes, tick: () => [...timers.values()].forEach(run => run())};
  }

  test("shows and hides the map in turn", () => {
    const {made, tick, changes} = flicker();
    made.set(true);
    const phases = [made.isShown()];
    for (let time = 0; time < 3; time++) {
      tick();
      phases.push(made.isShown());
    }
    assert.deepEqual(phases, [true, false, true, false]);
    assert.equal(changes(), 3);
  });

  test("shows the map and stops when it is off, and runs once when it is set twice", () => {
    const {made, timers, tick} = flicker();
    made.set(true);
    made.set(true);
    assert.equal(timers.size, 1);
    tick();
    made.set(false);
    assert.equal(timers.size, 0);
    assert.equal(made.isShown(), true);
  });
});
