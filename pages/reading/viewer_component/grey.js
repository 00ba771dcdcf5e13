// From stored values to greys: window and level, the file's own curves, inverting. A table, so that each pixel costs
// one look into it.

const CURVE_FULL = 65535;

// DICOM PS3.3 C.11.2.1.2.1, VOI LUT function LINEAR, to 8 bits. `length` is how many values there are; a table, where
// the rendering has one, comes before the window. `exact` is the file's own curve, which holds until somebody drags:
// its window may follow another of the standard's functions. Returns `into`, filled.
function greyTable(into, length, {centre, width, table, exact, isInverted}) {
  const slope = 255 / Math.max(width - 1, 1e-6), offset = 127.5 - (centre - 0.5) * slope;
  const looked = (curve, value) => curve[Math.min(value, curve.length - 1)];
  for (let value = 0; value < length; value++) {
    const grey = exact ? (looked(exact, value) * 255) / CURVE_FULL
      : (table ? looked(table, value) : value) * slope + offset;
    const clipped = grey <= 0 ? 0 : grey >= 255 ? 255 : Math.round(grey);
    into[value] = isInverted ? 255 - clipped : clipped;
  }
  return into;
}

// What a preset stands for before anyone drags. The curves arrive with the film's first pixels.
function windowOf({centre, width, rendering, is_table: isTable}, curves) {
  const exact = rendering === null ? null : curves[rendering] ?? null;
  return exact && isTable ? {centre: (CURVE_FULL + 1) / 2, width: CURVE_FULL + 1, table: exact, exact}
    : {centre, width, table: null, exact};
}

// Right is wider, so softer; up is brighter. A hand's width across the picture doubles the window or more, whatever the
// depth of the film.
function draggedWindow(start, right, down, span) {
  const width = Math.min(Math.max(start.width * Math.exp(right / 220), 2), 4 * span);
  const centre = Math.min(Math.max(start.centre + (down * Math.max(start.width, span / 64)) / 350, -span), 2 * span);
  return {...start, width, centre, exact: null};
}

const wholeNumber = value => Math.round(value).toLocaleString("en-GB");
