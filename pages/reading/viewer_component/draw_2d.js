// Draws panes on the processor: where there is no WebGL, or one that the processor itself makes up, slower than this.
// What zoom and pan decide is worked out once for a view, so that a drag of the window costs one look into a table for
// each pixel of the screen.

const BLACK = 0xff000000;

function createFlat(canvas) {
  const context = canvas.getContext("2d", {alpha: false});
  const held = {};

  // For each of a pane's pixels along one of its sides: which two places of `length` it lies between, and how far.
  // Those from `from` up to `to` lie on the film.
  function places(count, {step, start}, size, perPlace, length, stride) {
    const [one, other, part] = [new Int32Array(count), new Int32Array(count), new Float32Array(count)];
    let [from, to] = [count, 0];
    for (let index = 0; index < count; index++) {
      const film = (index + 0.5) * step + start;
      if (film < 0 || film >= size) continue;
      [from, to] = [Math.min(from, index), index + 1];
      const place = film * perPlace - 0.5, first = Math.floor(place);
      one[index] = Math.min(Math.max(first, 0), length - 1) * stride;
      other[index] = Math.min(Math.max(first + 1, 0), length - 1) * stride;
      part[index] = place - first;
    }
    return {one, other, part, from, to: Math.max(from, to), count};
  }

  // Bilinear, into `into`, as far as the film reaches.
  function sample(data, columns, rows, into, scale) {
    for (let y = rows.from; y < rows.to; y++) {
      const [upper, lower, down] = [rows.one[y], rows.other[y], rows.part[y]];
      for (let x = columns.from, at = y * columns.count + x; x < columns.to; x++, at++) {
        const left = columns.one[x], right = columns.other[x], across = columns.part[x];
        const above = data[upper + left] + (data[upper + right] - data[upper + left]) * across;
        const below = data[lower + left] + (data[lower + right] - data[lower + left]) * across;
        into[at] = (above + (below - above) * down) * scale + 0.5;
      }
    }
    return into;
  }

  function sampled(film, level, view, pane, grid) {
    const {scale, x, y, turn} = view;
    const key = [scale, x, y, turn, pane.width, pane.height, canvas.width, canvas.height].join();
    const axes = filmAxes(view, film), sizes = [film.width, film.height], area = pane.width * pane.height;
    // [columns, rows] of the pane for data of the given size, whichever of the film's axes runs along them.
    const along = (width, height, perWidth, perHeight) => {
      const found = [[perWidth, width, 1], [perHeight, height, width]].map((rest, index) => {
        const count = axes[index].axis === 0 ? pane.width : pane.height;
        return places(count, axes[index], sizes[index], ...rest);
      });
      return axes[0].axis === 0 ? found : found.reverse();
    };
    if (held.key !== key || held.level !== level) {
      const [columns, rows] = along(level.width, level.height, ...level.scale);
      const reuse = held.values?.length === area && held.values.BYTES_PER_ELEMENT === level.data.BYTES_PER_ELEMENT;
      held.values = sample(level.data, columns, rows, reuse ? held.values : new level.data.constructor(area), 1);
      held.inside = [columns.from, rows.from, columns.to, rows.to];
    }
    if (grid && (held.key !== key || held.grid !== grid)) {
      const [columns, rows] = along(GRID, GRID, GRID / film.width, GRID / film.height);
      const into = held.strength?.length === area ? held.strength : new Uint8Array(area);
      held.strength = sample(grid, columns, rows, into, 255);
    }
    const isMoved = held.key !== key;
    [held.key, held.level, held.grid] = [key, level, grid];
    return isMoved;
  }

  // Greys as pixels.
  function loadGreys(greys, version) {
    if (held.version === version && held.words?.length === greys.length) return;
    if (held.words?.length !== greys.length) held.words = new Uint32Array(greys.length);
    for (let value = 0; value < greys.length; value++) held.words[value] = BLACK | (greys[value] * 0x010101);
    held.version = version;
  }

  // For each of 256 strengths: how much of the grey stays, and what the colour adds, of 256ths.
  function loadTints(colours, opacity) {
    if (held.colours === colours && held.opacity === opacity) return;
    const tints = {stays: new Uint16Array(256), redBlue: new Uint32Array(256), green: new Uint32Array(256)};
    for (let strength = 0; strength < 256; strength++) {
      const share = Math.round((256 * opacity * strength) / 255);
      const [red, green, blue] = [0, 1, 2].map(channel => colours[3 * strength + channel] * share + 128);
      tints.stays[strength] = 256 - share;
      tints.redBlue[strength] = blue * 65536 + red;
      tints.green[strength] = green;
    }
    [held.tints, held.colours, held.opacity] = [tints, colours, opacity];
  }

  function paint(pane, isTinted) {
    if (held.picture?.width !== pane.width || held.picture?.height !== pane.height) {
      held.picture = context.createImageData(pane.width, pane.height);
      held.pixels = new Uint32Array(held.picture.data.buffer);
    }
    const {values, strength, words, pixels, tints, inside: [left, top, right, bottom]} = held;
    for (let y = top; y < bottom; y++) {
      const end = y * pane.width + right;
      let at = y * pane.width + left;
      if (!isTinted) {
        for (; at < end; at++) pixels[at] = words[values[at]];
        continue;
      }
      const {stays, redBlue, green} = tints;
      for (; at < end; at++) {
        const word = words[values[at]], how = strength[at], grey = word & 255, kept = stays[how];
        pixels[at] = how === 0 ? word : BLACK | (((grey * 0x010001 * kept + redBlue[how]) >>> 8) & 0xff00ff)
          | ((grey * kept + green[how]) & 0xff00);
      }
    }
    context.putImageData(held.picture, pane.left, pane.top, left, top, right - left, bottom - top);
  }

  return {
    name: "2d",
    draw({film, level, view, panes, greys, greysVersion, grid, colours, opacity}) {
      loadGreys(greys, greysVersion);
      loadTints(colours, opacity);
      // Beside the film nothing changes until it moves.
      if (sampled(film, level, view, panes[0], grid)) {
        context.fillStyle = "#0e1116";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.fillStyle = "#000";
        for (const pane of panes) context.fillRect(pane.left, pane.top, pane.width, pane.height);
      }
      for (const pane of panes) paint(pane, pane.isTinted && grid && opacity > 0);
    },
    clear() {
      for (const key of Object.keys(held)) delete held[key];
      context.fillStyle = "#000";
      context.fillRect(0, 0, canvas.width, canvas.height);
    },
    destroy() {
      this.clear();
    },
  };
}
