// The pixels of one film: fetched as they are stored, and kept in ever smaller copies too, so that every zoom has one.
//
// All .js files of this folder are joined into one module, in the order that pages/shared/viewer.py names.

const HEADER_BYTES = 64;
const MAGIC = 0x31564c50; // "PLV1"
const CHUNK_BYTES = 4 << 20;
const SMALLEST_LEVEL = 256;
const PATIENCE_MS = [300, 1000, 3000];

const later = ms => new Promise(done => setTimeout(done, ms));

// Asked for in ranges: a partial answer is sent as it is, a whole one would be compressed at every request. Kept out of
// the browser's cache, which lies on a disk.
async function fetchBytes(url, size, signal, onProgress) {
  const bytes = new Uint8Array(size);
  const starts = [];
  for (let start = 0; start < size; start += CHUNK_BYTES) starts.push(start);
  let done = 0;
  const worker = async () => {
    while (starts.length) {
      const start = starts.shift(), end = Math.min(start + CHUNK_BYTES, size) - 1;
      bytes.set(await fetchRange(url, start, end, signal), start);
      done += end - start + 1;
      onProgress(done / size);
    }
  };
  await Promise.all([worker(), worker()]);
  return bytes.buffer;
}

async function fetchRange(url, start, end, signal) {
  for (const wait of [...PATIENCE_MS, null]) {
    try {
      const answer = await fetch(url, {headers: {Range: `bytes=${start}-${end}`}, cache: "no-store", signal});
      if (answer.ok) {
        const body = new Uint8Array(await answer.arrayBuffer());
        // A proxy that knows no ranges answers with the whole.
        const part = answer.status === 206 ? body : body.subarray(start, end + 1);
        if (part.length === end - start + 1) return part;
      }
    } catch (error) {
      if (signal.aborted) throw error;
    }
    // The page names its files anew at each of its runs; one that is missing is back a moment later.
    if (wait === null) throw new Error("expected the film's bytes");
    await later(wait);
    if (signal.aborted) throw new DOMException("", "AbortError");
  }
}

// A file is 64 bytes of header, the pixels row by row, and the curves of the renderings that have one.
function readFilm(buffer) {
  const header = new DataView(buffer);
  if (header.getUint32(0, true) !== MAGIC) throw new Error("expected a film");
  const [width, height, bytes, curves, length] = [4, 8, 12, 16, 20].map(at => header.getUint32(at, true));
  const Pixels = bytes === 2 ? Uint16Array : Uint8Array;
  const data = new Pixels(buffer, HEADER_BYTES, width * height);
  let at = HEADER_BYTES + Math.ceil(data.byteLength / 2) * 2;
  const tables = [];
  for (let index = 0; index < curves; index++, at += 2 * length) tables.push(new Uint16Array(buffer, at, length));
  return {width, height, data, curves: tables};
}

// A level is a copy of the film with `scale` of its own pixels for each of the film's, along [columns, rows].
const levelOf = (picture, scale) => ({width: picture.width, height: picture.height, data: picture.data, scale});

// Every pixel of the smaller copy is the mean of the four, at an edge the two or one, that it covers.
function halve(level, from, to, half) {
  const {width, height, data} = level;
  for (let row = from; row < to; row++) {
    const upper = 2 * row * width, lower = Math.min(2 * row + 1, height - 1) * width;
    let at = row * half.width;
    const pairs = width >> 1;
    for (let column = 0; column < pairs; column++, at++) {
      const left = 2 * column;
      const sum = data[upper + left] + data[upper + left + 1] + data[lower + left] + data[lower + left + 1];
      half.data[at] = (sum + 2) >> 2;
    }
    if (width & 1) half.data[at] = (data[upper + width - 1] + data[lower + width - 1] + 1) >> 1;
  }
}

// In strips, so that a hand that drags meanwhile does not notice.
async function addLevels(levels, signal) {
  for (let level = levels[0]; Math.max(level.width, level.height) > SMALLEST_LEVEL;) {
    const width = (level.width + 1) >> 1, height = (level.height + 1) >> 1;
    const half = {width, height, data: new level.data.constructor(width * height), scale: level.scale.map(s => s / 2)};
    const strip = Math.max(1, Math.floor(500_000 / width));
    for (let row = 0; row < height; row += strip) {
      halve(level, row, Math.min(row + strip, height), half);
      await later(0);
      if (signal.aborted) return;
    }
    levels.push(half);
    level = half;
  }
}

// The copy whose pixels come closest to those of the screen, which shows `scale` of its pixels for each of the film's.
function bestLevel(levels, scale) {
  const misfit = level => Math.abs(Math.log2(scale / level.scale[0]));
  return levels.reduce((best, level) => misfit(level) < misfit(best) ? level : best);
}
