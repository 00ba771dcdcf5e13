import assert from "node:assert/strict";
import {afterEach, beforeEach, describe, mock, test} from "node:test";

import {HEADER_BYTES, fetchBytes, parsePicture} from "../../../../pages/reading/viewer_component/image.js";
import {emptyImage, loadImage} from "../../../../pages/reading/viewer_component/loader.js";

/** A file as pages.reading.transport writes it. */
function encode(width, height, values, tables = []) {
  const bytes = values.BYTES_PER_ELEMENT, padded = Math.ceil(values.byteLength / 2) * 2;
  const length = tables[0]?.length ?? 0;
  const buffer = new ArrayBuffer(HEADER_BYTES + padded + 2 * length * tables.length), view = new DataView(buffer);
  [..."PLV1"].forEach((letter, at) => view.setUint8(at, letter.charCodeAt(0)));
  [width, height, bytes, tables.length, length].forEach((number, at) => view.setUint32(4 + 4 * at, number, true));
  new values.constructor(buffer, HEADER_BYTES, values.length).set(values);
  tables.forEach((table, at) => new Uint16Array(buffer, HEADER_BYTES + padded + 2 * length * at, length).set(table));
  return buffer;
}

describe("parsing", () => {
  test("gives pixels of both depths and the tables after them", () => {
    const tables = [Uint16Array.from([1, 2, 3]), Uint16Array.from([4, 5, 65535])];
    for (const values of [Uint8Array.from([1, 2, 255]), Uint16Array.from([1, 2, 65535])]) {
      const picture = parsePicture(encode(3, 1, values, tables));
      assert.deepEqual([picture.width, picture.height], [3, 1]);
      assert.deepEqual(picture.pixelData, values);
      assert.deepEqual(picture.voiLuts, tables);
    }
  });

  test("refuses another file", () => {
    assert.throws(() => parsePicture(new ArrayBuffer(100)), /PLV1/);
  });
});

describe("fetching", () => {
  const file = Uint8Array.from({length: 9_000_000}, (_, at) => at % 251);
  let answers = [], requests = [];

  beforeEach(() => {
    [answers, requests] = [[], []];
    mock.method(globalThis, "fetch", async (url, {headers, cache}) => {
      const [start, end] = headers.Range.match(/\d+/g).map(Number);
      requests.push({url, start, end, cache});
      const how = answers.shift() ?? "part";
      if (how === "fail") throw new TypeError("no connection");
      if (how === "missing") return new Response("", {status: 404});
      if (how === "whole") return new Response(file, {status: 200});
      if (how === "short") return new Response(file.slice(start, end), {status: 206});
      return new Response(file.slice(start, end + 1), {status: 206});
    });
    // Retries are immediate here.
    mock.method(globalThis, "setTimeout", run => queueMicrotask(run));
  });
  afterEach(() => mock.restoreAll());

  test("asks for ranges that the browser's cache does not keep, and joins them", async () => {
    const shares = [];
    const buffer = await fetchBytes("/media/x.bin", file.length, new AbortController().signal, share => shares.push(share));
    assert.deepEqual(new Uint8Array(buffer), file);
    assert.deepEqual(requests.map(({start}) => start).sort((a, b) => a - b), [0, 4 << 20, 8 << 20]);
    assert.ok(requests.every(({cache}) => cache === "no-store"));
    assert.equal(shares.at(-1), 1);
  });

  test("takes its part of a whole file", async () => {
    answers = ["whole", "whole", "whole"];
    const buffer = await fetchBytes("/x", file.length, new AbortController().signal, () => {});
    assert.deepEqual(new Uint8Array(buffer), file);
  });

  test("asks again for what fails, is missing or too short, and gives up after four times", async () => {
    answers = ["fail", "missing", "short"];
    assert.deepEqual(new Uint8Array(await fetchBytes("/x", 100, new AbortController().signal, () => {})),
      file.slice(0, 100));
    assert.equal(requests.length, 4);
    answers = ["fail", "fail", "fail", "missing"];
    await assert.rejects(fetchBytes("/x", 100, new AbortController().signal, () => {}), /bytes 0 to 99/);
  });

  test("stops when it is aborted", async () => {
    answers = ["fail"];
    const ending = new AbortController();
    ending.abort();
    await assert.rejects(fetchBytes("/x", 100, ending.signal, () => {}));
    assert.equal(requests.length, 1);
  });
});

describe("loading", () => {
  const about = {id: "one", caption: "", width: 600, height: 300, valueCount: 256};
  const pixels = (width, height) => new Uint8Array(encode(width, height, new Uint8Array(width * height).fill(7)));
  let files, broken;

  beforeEach(() => {
    files = {"/small": pixels(60, 30), "/full": pixels(600, 300)};
    broken = 0;
    mock.method(globalThis, "fetch", async url => {
      if (broken-- > 0) throw new TypeError("no connection");
      return new Response(files[url], {status: 206});
    });
    mock.method(globalThis, "setTimeout", run => queueMicrotask(run));
  });
  afterEach(() => mock.restoreAll());

  const load = async names => {
    const image = emptyImage(about), events = [];
    await loadImage(image, names.map(url => ({url, bytes: files[url].length})), {
      onStatus: text => events.push(text),
      onPixels: () => events.push(image.levels.map(level => level.width)),
      onComplete: () => events.push("complete"),
    }, new AbortController().signal);
    return {image, events};
  };

  test("shows the preview first, then the full resolution, then adds the smaller copies", async () => {
    const {image, events} = await load(["/small", "/full"]);
    assert.deepEqual(events, [[60], "Full resolution: 100 %", [600, 60], "", "complete"]);
    assert.deepEqual(image.levels.map(level => [level.width, level.height, level.scale[0]]),
      [[600, 300, 1], [300, 150, 0.5], [150, 75, 0.25]]);
    assert.equal(image.full, image.levels[0]);
  });

  test("says what has not arrived, and asks until it does", async () => {
    broken = 4;
    const {events} = await load(["/full"]);
    assert.deepEqual([events[0], events.at(-1)], ["The image has not loaded yet; trying again", "complete"]);
  });

  test("says that a file which is none cannot be displayed", async () => {
    files["/full"] = new Uint8Array(64);
    mock.method(console, "error", () => {});
    const {events} = await load(["/full"]);
    assert.equal(events.at(-1), "The image cannot be displayed");
  });
});
