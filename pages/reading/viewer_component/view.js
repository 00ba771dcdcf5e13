// Which part of the film lies where on the screen: zoom, pan and turn. Lengths on the screen are device pixels.
//
// A view is {scale, x, y, turn, isFit}: device pixels for each of the film's, where the turned film's corner lies in
// its pane, quarter turns clockwise, and whether it follows the pane's size.

const GREATEST_SCALE = 16;

const turnedSize = (film, turn) => turn % 2 ? [film.height, film.width] : [film.width, film.height];

function fitView(film, pane, turn) {
  const [width, height] = turnedSize(film, turn);
  const scale = Math.min(pane.width / width, pane.height / height);
  // Whole pixels: at 100 % each of the film's pixels is one of the screen's.
  const [x, y] = [(pane.width - width * scale) / 2, (pane.height - height * scale) / 2].map(Math.round);
  return {scale, x, y, turn, isFit: true};
}

// Zoomed to `scale` so that what lies under (left, top) of the pane stays there.
function zoomedView(view, film, pane, scale, left, top) {
  const least = Math.min(fitView(film, pane, view.turn).scale, 1);
  const now = Math.min(Math.max(scale, least), GREATEST_SCALE);
  const moved = {...view, scale: now, isFit: false, x: left - ((left - view.x) * now) / view.scale,
    y: top - ((top - view.y) * now) / view.scale};
  return keptInside(moved, film, pane);
}

const pannedView = (view, film, pane, right, down) =>
  keptInside({...view, isFit: false, x: view.x + right, y: view.y + down}, film, pane);

// Along a side on which the film is smaller than its pane it stays in the middle; else the pane stays full.
function keptInside(view, film, pane) {
  const [width, height] = turnedSize(film, view.turn).map(side => side * view.scale);
  const kept = (at, size, room) =>
    Math.round(size <= room ? (room - size) / 2 : Math.min(Math.max(at, room - size), 0));
  return {...view, x: kept(view.x, width, pane.width), y: kept(view.y, height, pane.height)};
}

// A quarter turn clockwise about the pane's middle.
function turnedView(view, film, pane) {
  const turn = (view.turn + 1) % 4;
  if (view.isFit) return fitView(film, pane, turn);
  const [height] = turnedSize(film, turn).map(side => side * view.scale);
  const across = pane.width / 2 - view.x, down = pane.height / 2 - view.y;
  return keptInside({...view, turn, x: pane.width / 2 - (height - down), y: pane.height / 2 - across}, film, pane);
}

// Each of the film's axes as {axis, step, start}: it runs along the pane's x (0) or y (1), and what is at p there is at
// step * p + start of the film.
function filmAxes(view, film) {
  const step = 1 / view.scale, x = -view.x * step, y = -view.y * step;
  const along = (axis, from) => ({axis, step, start: from});
  const against = (axis, from, length) => ({axis, step: -step, start: length - from});
  return [
    [along(0, x), along(1, y)],
    [along(1, y), against(0, x, film.height)],
    [against(0, x, film.width), against(1, y, film.height)],
    [against(1, y, film.width), along(0, x)],
  ][view.turn];
}

// Where a point of the pane lies on the film, [column, row], with fractions; outside the film, too.
const filmPoint = (view, film, left, top) =>
  filmAxes(view, film).map(({axis, step, start}) => (axis === 0 ? left : top) * step + start);

// The rectangle of the film that the pane shows: [left, top, right, bottom] within the film.
function shownPart(view, film, pane) {
  const [one, other] = [filmPoint(view, film, 0, 0), filmPoint(view, film, pane.width, pane.height)];
  const within = (value, size) => Math.min(Math.max(value, 0), size);
  return [within(Math.min(one[0], other[0]), film.width), within(Math.min(one[1], other[1]), film.height),
    within(Math.max(one[0], other[0]), film.width), within(Math.max(one[1], other[1]), film.height)];
}

// From the unit square over the film to the pane, for paths.
function unitToPane(view, film) {
  const [width, height] = [film.width * view.scale, film.height * view.scale];
  return [
    new DOMMatrix([width, 0, 0, height, view.x, view.y]),
    new DOMMatrix([0, width, -height, 0, view.x + height, view.y]),
    new DOMMatrix([-width, 0, 0, -height, view.x + width, view.y + height]),
    new DOMMatrix([0, -width, height, 0, view.x, view.y + width]),
  ][view.turn];
}
