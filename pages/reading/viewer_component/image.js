/**
 * The pixels of one image: fetched as they are stored, in the format of `pages.reading.transport`.
 *
 * @module image
 */

export const HEADER_BYTES = 64;
const MAGIC = 0x31564c50; // "PLV1"
const CHUNK_BYTES = 4 << 20;
const RETRY_MS = [300, 1000, 3000];

/**
 * @typedef {Uint8Array | Uint16Array} PixelData
 * @typedef {{width: number, height: number, pixelData: PixelData, voiLuts: Uint16Array[]}} Picture
 */

/** @param {number} ms @returns {Promise<void>} */
export const delay = ms => new Promise(done => {
  setTimeout(done, ms);
});

/**
 * Fetch a file of known size.
 *
 * It is requested in ranges, since Streamlit compresses whole files at every request but sends parts as they are, and
 * kept out of the browser's cache, which is on a disk.
 *
 * @param {string} url
 * @param {number} size bytes
 * @param {AbortSignal} signal
 * @param {(share: number) => void} onProgress
 * @returns {Promise<ArrayBuffer>}
 */
export async function fetchBytes(url, size, signal, onProgress) {
  const bytes = new Uint8Array(size);
  /** @type {number[]} */
  const starts = [];
  for (let start = 0; start < size; start += CHUNK_BYTES) starts.push(start);
  let done = 0;
  const worker = async () => {
    for (let start = starts.shift(); start !== undefined; start = starts.shift()) {
      const end = Math.min(start + CHUNK_BYTES, size) - 1;
      bytes.set(await fetchRange(url, start, end, signal), start);
      done += end - start + 1;
      onProgress(done / size);
    }
  };
  await Promise.all([worker(), worker()]);
  return bytes.buffer;
}

/**
 * @param {string} url
 * @param {number} start first byte
 * @param {number} end last byte
 * @param {AbortSignal} signal
 * @returns {Promise<Uint8Array>}
 */
async function fetchRange(url, start, end, signal) {
  for (const wait of [...RETRY_MS, null]) {
    try {
      const answer = await fetch(url, {headers: {Range: `bytes=${start}-${end}`}, cache: "no-store", signal});
      if (answer.ok) {
        const body = new Uint8Array(await answer.arrayBuffer());
        // A proxy without support for ranges answers with the whole file.
        const part = answer.status === 206 ? body : body.subarray(start, end + 1);
        if (part.length === end - start + 1) return part;
      }
    } catch (error) {
      if (signal.aborted) throw error;
    }
    if (wait === null) break;
    // The page publishes its files anew at each run; a missing file is back a moment later.
    await delay(wait);
    if (signal.aborted) throw new DOMException("", "AbortError");
  }
  throw new Error(`expected bytes ${start} to ${end} of an image`);
}

/**
 * Read a file: 64 bytes of header, the pixels row by row, then the VOI LUTs of the file's renderings.
 *
 * @param {ArrayBuffer} buffer
 * @returns {Picture}
 */
export function parsePicture(buffer) {
  const header = new DataView(buffer);
  if (header.getUint32(0, true) !== MAGIC) throw new Error("expected an image in the format PLV1");
  const [width, height, bytes, count, length] = [4, 8, 12, 16, 20].map(at => header.getUint32(at, true));
  const Pixels = bytes === 2 ? Uint16Array : Uint8Array;
  const pixelData = new Pixels(buffer, HEADER_BYTES, width * height);
  let at = HEADER_BYTES + Math.ceil(pixelData.byteLength / 2) * 2;
  /** @type {Uint16Array[]} */
  const voiLuts = [];
  for (let index = 0; index < count; index++, at += 2 * length) voiLuts.push(new Uint16Array(buffer, at, length));
  return {width, height, pixelData, voiLuts};
}
