// The viewer: what is shown, and what the reader has chosen. Choices stay for the visit, window and zoom for the film.

const OFFERED_LEVELS = [0.2, 0.4, 0.6, 0.8, 0.9];
const FLICKER_MS = 600;
const TELL_AFTER_MS = 250;
const STEP = 1.25;
const RETRY_MS = 5000;

function createViewer(root, first) {
  const ending = new AbortController(), signal = ending.signal;
  const stageBox = root.querySelector(".stage");
  const choices = {...first.choices};
  let data = first, tell = () => {}, telling = null, loading = new AbortController(), frame = null;
  let film = null, view = null, shown = null, preset = 0, rendering = 0, isDragged = false, isInverted = false;
  let isWindowTool = false, hasMapOn = true, isPeeking = false, phase = true, pointer = null;
  let grid = null, greys = null, version = 0, colours = null;
  const controls = createControls(root, act, signal), {part} = controls;
  const stage = createStage(stageBox, () => {
    refit();
    redraw();
  });

  // ---- the film

  async function load() {
    loading.abort();
    loading = new AbortController();
    const {film: about, map, presets} = data, mine = loading.signal;
    film = {key: about.key, width: about.width, height: about.height, levels: [], curves: [], full: null};
    [preset, rendering, isDragged, isInverted, hasMapOn] = [0, 0, false, false, true];
    colours = Uint8Array.from(atob(data.colours), one => one.charCodeAt(0));
    greys = new Uint8Array(Math.max(256, about.values));
    grid = null;
    controls.offerPresets(presets);
    // At once, so that no film stands beside another one's finding while the next is on its way.
    stage.blank();
    for (const name of ["hover", "loading", "window", "zoom"]) part(name).textContent = "";
    part("cross").hidden = true;
    takeWindow();
    drawGrid();
    refit(true);
    show();
    try {
      for (const file of about.files) {
        const isLast = file === about.files.at(-1);
        const buffer = await arrived(file, mine, share => {
          if (!mine.aborted && isLast) part("loading").textContent = `Full size: ${Math.round(100 * share)} %`;
        });
        if (mine.aborted) return;
        const picture = readFilm(buffer);
        if (picture.curves.length) film.curves = picture.curves;
        const level = levelOf(picture, [picture.width / film.width, picture.height / film.height]);
        if (!isLast) film.levels = [level];
        else film.levels.unshift(film.full = level);
        takeWindow();
        redraw();
      }
      part("loading").textContent = "";
      const levels = [film.full];
      await addLevels(levels, mine);
      if (mine.aborted) return;
      film.levels = levels;
      stageBox.dataset.loaded = film.key;
      redraw();
    } catch (error) {
      if (mine.aborted) return;
      console.error(error);
      part("loading").textContent = "The film cannot be shown";
    }
  }

  async function arrived(file, mine, progress) {
    for (;;) {
      try {
        return await fetchBytes(file.url, file.bytes, mine, progress);
      } catch (error) {
        if (mine.aborted) throw error;
        part("loading").textContent = film.levels.length ? "Full size did not arrive yet; this is a smaller copy"
          : "The film did not arrive yet";
        await later(RETRY_MS);
        if (mine.aborted) throw error;
      }
    }
  }

  function drawGrid() {
    const greatest = data.map?.[choices.against ? "against" : "for"];
    // A side on which no region lies has nothing to be drawn.
    grid = greatest ? influenceGrid(data.map.cells, greatest, choices.against) : null;
  }

  // ---- what is shown

  function takeWindow() {
    if (isDragged || !data.presets[preset]) return;
    shown = windowOf(data.presets[preset], film.curves);
    regrey();
  }

  function regrey() {
    greyTable(greys, greys.length, {...shown, isInverted});
    version++;
  }

  const isBeside = () => choices.layout === "beside" && Boolean(data.map);
  const onePane = () => stage.panes(isBeside())[0];

  function refit(isForced = false) {
    if (!film) return;
    if (isForced || !view || view.isFit) view = fitView(film, onePane(), isForced || !view ? 0 : view.turn);
    else view = keptInside(view, film, onePane());
  }

  function redraw() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      draw();
    });
  }

  function draw() {
    if (!film?.levels.length || !view) return;
    const panes = stage.panes(isBeside());
    const hasMap = grid && hasMapOn && !isPeeking && (choices.layout !== "flicker" || phase);
    const mapped = panes.at(-1);
    mapped.isTinted = hasMap && choices.mode === "overlay";
    mapped.isLined = hasMap && choices.mode === "contour";
    stage.draw({film, view, panes, grid, colours, greys, greysVersion: version, opacity: choices.opacity,
      levels: choices.levels, level: bestLevel(film.levels, view.scale)});
    const turned = view.turn ? `, turned ${90 * view.turn}°` : "";
    part("zoom").textContent = `${view.isFit ? "Fit, " : ""}${Math.round(100 * view.scale)} %${turned}`;
    const inverted = isInverted ? "  inverted" : "";
    const isTable = shown.table && shown.exact;
    part("window").textContent = (isTable ? data.presets[preset].name
      : `W ${wholeNumber(shown.width)}  L ${wholeNumber(shown.centre)}`) + inverted;
    hover(pointer);
  }

  function show() {
    const {film: about, map, words} = data, side = choices.against ? "against" : "for";
    const isEmpty = map && !map[side];
    const form = isEmpty ? "empty" : choices.mode;
    root.querySelector(".viewer").dataset.layout = isBeside() ? "beside" : "one";
    const caption = map ? words.captions[side][form] : words.noMap;
    part("caption").textContent = isBeside() ? about.caption : `${about.caption}. ${caption}`;
    part("caption2").textContent = caption;
    part("caption2").hidden = !isBeside();
    part("note").textContent = !map ? "" : isEmpty ? words.notes[side].empty : words.notes[side].map;
    stageBox.setAttribute("aria-label", `${about.caption}. ${caption}`);
    controls.show({choices, presets: data.presets, preset, isDragged, isInverted, isWindowTool, hasMap: Boolean(map),
      offered: OFFERED_LEVELS, colours});
    stageBox.classList.toggle("windows", isWindowTool);
    // For whoever hears the page: what a key has just changed.
    const said = `${part("preset").textContent}${isInverted ? ", inverted" : ""}. ${caption}`;
    if (part("said").textContent !== said) part("said").textContent = said;
    redraw();
  }

  // ---- what the reader does

  function chosen() {
    clearTimeout(telling);
    telling = setTimeout(() => tell("choices", {...choices, rendering, film: film.key}), TELL_AFTER_MS);
    show();
  }

  function choose(change) {
    if (!data.map) return false;
    const against = choices.against;
    Object.assign(choices, change);
    if (choices.against !== against) drawGrid();
    hasMapOn = true;
    flicker();
    refit();
    chosen();
    return true;
  }

  let flickering = null;
  function flicker() {
    clearInterval(flickering);
    phase = true;
    // Whoever asked their system for less motion turns the map on and off by M or the space bar.
    if (choices.layout !== "flicker" || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    flickering = setInterval(() => {
      phase = !phase;
      redraw();
    }, FLICKER_MS);
  }

  // Stage pixels -> pane pixels, of whichever pane is under them.
  function inPane([left, top]) {
    const pane = stage.panes(isBeside()).findLast(one => left >= one.left) ?? onePane();
    return [left - pane.left, top - pane.top, pane];
  }

  function zoom(factor, at = null, to = null) {
    const pane = onePane(), [left, top] = at ? inPane(at) : [pane.width / 2, pane.height / 2];
    view = zoomedView(view, film, pane, to ?? view.scale * factor, left, top);
    redraw();
  }

  function pan(right, down) {
    view = pannedView(view, film, onePane(), right, down);
    redraw();
  }

  function setWindow(next) {
    shown = next;
    const was = isDragged;
    isDragged = true;
    regrey();
    if (was) redraw();
    else show();
  }

  const span = () => shown.table ? CURVE_FULL + 1 : data.film.values;

  const actions = {
    windowTool: () => { isWindowTool = !isWindowTool; show(); },
    invert: () => { isInverted = !isInverted; regrey(); show(); },
    turn: () => { view = turnedView(view, film, onePane()); redraw(); },
    fit: () => { view = fitView(film, onePane(), view.turn); redraw(); },
    actual: () => zoom(1, null, 1),
    zoomIn: () => zoom(STEP),
    zoomOut: () => zoom(1 / STEP),
    reset: () => {
      [preset, isDragged, isInverted, isWindowTool] = [0, false, false, false];
      takeWindow();
      refit(true);
      show();
      if (rendering) { rendering = 0; chosen(); }
    },
    presets: () => { controls.openMenu(part("presets").hidden); },
    preset: index => {
      if (!data.presets[index]) return false;
      [preset, isDragged] = [Number(index), false];
      takeWindow();
      controls.openMenu(false);
      show();
      const asked = data.presets[preset].rendering;
      if (asked !== null && asked !== rendering) { rendering = asked; chosen(); }
    },
    layout: layout => choose({layout}),
    mode: mode => choose({mode: mode === "other" ? (choices.mode === "overlay" ? "contour" : "overlay") : mode}),
    side: side => choose({against: side === "other" ? !choices.against : side === "against"}),
    level: level => {
      const all = new Set(choices.levels), one = Number(level);
      if (!all.delete(one)) all.add(one);
      choose({levels: [...all].sort()});
    },
    opacity: by => actions.opacityTo(100 * choices.opacity + Number(by)),
    opacityTo: percent => choose({opacity: Math.min(Math.max(Math.round(percent), 0), 100) / 100}),
    map: () => { hasMapOn = !hasMapOn; redraw(); },
    peek: state => { const is = state === "on"; if (is !== isPeeking) { isPeeking = is; redraw(); } },
    window: step => setWindow(draggedWindow(shown, ...step.split(",").map(Number), span())),
    pan: step => pan(...step.split(",").map(Number)),
    help: () => {
      const help = part("help");
      help.hidden = !help.hidden;
      if (!help.hidden) help.querySelector("button").focus();
      else stageBox.focus();
    },
    leave: () => {
      if (!part("help").hidden) return actions.help();
      if (controls.openMenu(false)) return undefined;
      if (!isWindowTool) return false;
      return actions.windowTool();
    },
  };

  // Returns whether it was done, so that a key that means nothing here still reaches the page.
  function act(command) {
    const [name, argument] = command.split(/:(.*)/s);
    if (!film?.levels.length && name !== "help" && name !== "leave") return false;
    return actions[name](argument) !== false;
  }

  function hover(at) {
    pointer = at;
    const cross = part("cross");
    if (!at || !film?.levels.length) {
      part("hover").textContent = "";
      cross.hidden = true;
      return;
    }
    const [left, top, pane] = inPane(at);
    const [column, row] = filmPoint(view, film, left, top).map(Math.floor);
    const isInside = column >= 0 && row >= 0 && column < film.width && row < film.height;
    const other = isBeside() ? stage.panes(true).find(one => one.left !== pane.left) : null;
    cross.hidden = !isInside || !other;
    const ratio = window.devicePixelRatio || 1;
    if (other) cross.style.translate = `${(other.left + left) / ratio}px ${(other.top + top) / ratio}px`;
    if (!isInside) {
      part("hover").textContent = "";
      return;
    }
    const value = film.full ? `, value ${wholeNumber(film.full.data[row * film.width + column])}` : "";
    const influence = !data.map ? "" : `, influence ${choices.against ? "against " : ""}` +
      `${Math.round(100 * (grid ? influenceAt(grid, (column + 0.5) / film.width, (row + 0.5) / film.height) : 0))} %`;
    part("hover").textContent = `x ${column}, y ${row}${value}${influence}`;
  }

  listenToKeys(stageBox, act, signal);
  listenToPointers(stageBox, {
    windows: () => isWindowTool,
    start: () => ({...shown}),
    window: (start, right, down) => film?.levels.length && setWindow(draggedWindow(start, right, down, span())),
    pan: (right, down) => film?.levels.length && pan(right, down),
    zoom: (factor, at) => film?.levels.length && zoom(factor, at),
    double: at => { if (film?.levels.length) view.isFit ? zoom(1, at, 1) : actions.fit(); },
    hover,
  }, signal);
  flicker();

  return {
    calls: 0,
    update(next, setStateValue) {
      const isSameMap = JSON.stringify(data.map) === JSON.stringify(next.map);
      [data, tell] = [next, setStateValue];
      if (film?.key !== data.film.key) return load();
      if (!isSameMap) drawGrid();
      return show();
    },
    destroy() {
      ending.abort();
      loading.abort();
      clearInterval(flickering);
      clearTimeout(telling);
      cancelAnimationFrame(frame);
      stage.destroy();
    },
  };
}

const viewers = new WeakMap();

export default function ({data, parentElement, setStateValue}) {
  let viewer = viewers.get(parentElement);
  if (!viewer) viewers.set(parentElement, viewer = createViewer(parentElement, data));
  viewer.update(data, setStateValue);
  // Streamlit also calls this for a call that a later one has overtaken.
  const call = ++viewer.calls;
  return () => {
    if (viewer.calls !== call) return;
    viewers.delete(parentElement);
    viewer.destroy();
  };
}
