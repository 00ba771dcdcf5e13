// The canvases: one for films and colours, one above it for lines. Chooses who draws, and keeps their sizes.

const PANE_GAP = 8;

function createStage(stage, onResize) {
  let film, lines, painter, wanted = true;
  const aside = {key: null, paths: new Map(), grid: null};

  function build() {
    painter?.destroy();
    film?.remove();
    lines?.remove();
    [film, lines] = ["film", "lines"].map(name => {
      const canvas = document.createElement("canvas");
      canvas.className = name;
      canvas.setAttribute("aria-hidden", "true");
      return canvas;
    });
    stage.prepend(film, lines);
    painter = (wanted && createWebgl(film, lose)) || null;
    if (!painter) {
      // A canvas that was asked for WebGL can answer for nothing else.
      const fresh = film.cloneNode();
      film.replaceWith(fresh);
      film = fresh;
      painter = createFlat(film);
    }
    stage.dataset.painter = painter.name;
    aside.key = null;
    measure();
  }

  function lose() {
    wanted = false;
    build();
    onResize();
  }

  function measure() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [stage.clientWidth, stage.clientHeight].map(side => Math.max(1, Math.round(side * ratio)));
    for (const canvas of [film, lines]) {
      if (canvas.width === width && canvas.height === height) continue;
      // A canvas that gets another size forgets what was on it.
      [canvas.width, canvas.height] = [width, height];
      aside.key = null;
    }
  }

  // One pane or two of one size, in device pixels.
  function panes(isBeside) {
    const gap = Math.round(PANE_GAP * (window.devicePixelRatio || 1));
    if (!isBeside) return [{left: 0, top: 0, width: film.width, height: film.height}];
    const width = Math.max(1, Math.floor((film.width - gap) / 2));
    return [0, film.width - width].map(left => ({left, top: 0, width, height: film.height}));
  }

  function blank() {
    painter.clear();
    lines.hidden = true;
    [aside.key, aside.grid] = [null, null];
    aside.paths.clear();
  }

  // Lines change with the view and the choice of levels, not with the window.
  function drawLines({film: picture, view, panes: where, grid, levels, colours}) {
    const lined = where.filter(pane => pane.isLined);
    const {scale, x, y, turn} = view;
    const key = [lines.width, lines.height, scale, x, y, turn, levels, lined.map(pane => pane.left)].join();
    if (aside.key === key && aside.grid === grid) return;
    if (aside.grid !== grid) aside.paths.clear();
    [aside.key, aside.grid] = [key, grid];
    // A canvas that is not there costs nothing at each frame.
    lines.hidden = !lined.length;
    const context = lines.getContext("2d"), ratio = window.devicePixelRatio || 1;
    context.clearRect(0, 0, lines.width, lines.height);
    for (const pane of lined) {
      context.save();
      context.beginPath();
      context.rect(pane.left, pane.top, pane.width, pane.height);
      context.clip();
      context.translate(pane.left, pane.top);
      context.lineCap = "round";
      for (const level of levels) {
        if (!aside.paths.has(level)) aside.paths.set(level, contourPath(grid, level));
        const path = new Path2D(), at = 3 * Math.round(level * 255);
        path.addPath(aside.paths.get(level), unitToPane(view, picture));
        // The dark edge keeps a bright line visible on bone.
        for (const [colour, width] of [["#000", 4], [`rgb(${colours[at]},${colours[at + 1]},${colours[at + 2]})`, 2]]) {
          [context.strokeStyle, context.lineWidth] = [colour, width * ratio];
          context.stroke(path);
        }
      }
      context.restore();
    }
  }

  build();
  const watch = new ResizeObserver(() => {
    measure();
    onResize();
  });
  watch.observe(stage);
  return {
    panes,
    blank,
    draw(scene) {
      painter.draw(scene);
      drawLines(scene);
      stage.dataset.drawn = String(Number(stage.dataset.drawn ?? 0) + 1);
    },
    destroy() {
      watch.disconnect();
      painter.destroy();
      film.remove();
      lines.remove();
    },
  };
}
