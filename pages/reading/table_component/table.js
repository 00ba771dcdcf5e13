/**
 * The table of the visit's images. The server sorts, so that the keys for the next image follow the order on the screen.
 *
 * Sends to the server: `pressed` (an image's number) and `sorted` ("arrival" or "probability").
 *
 * @module table
 */

/**
 * @typedef {object} Line
 * @property {number | null} number null for a file that waits
 * @property {string} file
 * @property {string} finding
 * @property {string} side "above", "near", "below", "none" or empty
 * @property {string} probability
 * @property {string} warnings
 *
 * @typedef {{lines: Line[], order: string, shown: number}} TableData
 * @typedef {(name: string, value: unknown) => void} SetTriggerValue
 */

/** @type {{name: string, order?: string, title?: string}[]} */
const COLUMNS = [
  {name: "No.", order: "arrival", title: "Sort by upload order"},
  {name: "File"},
  {name: "Finding"},
  {name: "Probability", order: "probability", title: "Sort by probability, highest first"},
  {name: "Warnings"},
];
const FITS_A_CELL = 20;

/** @param {HTMLTableRowElement} row @param {string} text @param {string} className */
function addCell(row, text, className = "") {
  const cell = row.insertCell();
  cell.textContent = text;
  cell.className = className;
  // Cells are cut to one line; the tooltip has the whole text.
  if (text.length > FITS_A_CELL) cell.title = text;
}

/** @param {ShadowRoot} parent */
function createTable(parent) {
  const frame = /** @type {HTMLElement} */ (parent.querySelector(".frame"));
  const head = /** @type {HTMLTableRowElement} */ (frame.querySelector("thead tr"));
  const body = /** @type {HTMLTableSectionElement} */ (frame.querySelector("tbody"));
  /** @type {SetTriggerValue} */
  let setTriggerValue = () => {};
  let drawn = "", marked = "";

  for (const {name, order, title} of COLUMNS) {
    const heading = head.appendChild(document.createElement("th"));
    heading.scope = "col";
    if (!order) {
      heading.textContent = name;
      continue;
    }
    const button = heading.appendChild(document.createElement("button"));
    Object.assign(button, {type: "button", textContent: name, title});
    heading.dataset.order = order;
    button.addEventListener("click", () => setTriggerValue("sorted", order));
  }

  /** @param {HTMLElement | null} row */
  const press = row => {
    if (row?.dataset.number) setTriggerValue("pressed", Number(row.dataset.number));
  };
  /** @param {Event} event @returns {HTMLElement | null} */
  const rowOf = event => /** @type {HTMLElement} */ (event.target).closest("tr");
  body.addEventListener("click", event => press(rowOf(event)));
  body.addEventListener("keydown", event => {
    const row = rowOf(event);
    /** @type {Record<string, Element | null | undefined>} */
    const targets = {ArrowUp: row?.previousElementSibling, ArrowDown: row?.nextElementSibling, Enter: row};
    const to = /** @type {HTMLElement | null | undefined} */ (targets[event.key]);
    if (!to) return;
    event.preventDefault();
    to.focus();
    press(to);
  });

  /** @param {TableData} data */
  function draw(data) {
    body.replaceChildren(...data.lines.map(line => {
      const row = document.createElement("tr");
      addCell(row, line.number ? String(line.number) : "");
      addCell(row, line.file);
      addCell(row, line.finding, line.side);
      addCell(row, line.probability);
      addCell(row, line.warnings);
      if (line.number) row.dataset.number = String(line.number);
      else row.className = "waiting";
      return row;
    }));
  }

  /** @param {TableData} data */
  function mark(data) {
    for (const heading of /** @type {HTMLElement[]} */ ([...head.children])) {
      const isSorted = heading.dataset.order === data.order;
      if (isSorted) heading.setAttribute("aria-sort", data.order === "probability" ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    const now = `${data.shown} ${data.order}`;
    for (const row of body.rows) {
      const isShown = row.dataset.number === String(data.shown);
      row.setAttribute("aria-selected", String(isShown));
      row.tabIndex = isShown ? 0 : -1;
      if (isShown && marked !== now) bringIntoView(row);
    }
    marked = now;
  }

  /**
   * Scroll the table alone: scrollIntoView would move the page too, and with it the image.
   *
   * @param {HTMLElement} row
   */
  function bringIntoView(row) {
    const top = row.offsetTop - head.offsetHeight, bottom = row.offsetTop + row.offsetHeight;
    if (top < frame.scrollTop) frame.scrollTop = top;
    else if (bottom > frame.scrollTop + frame.clientHeight) frame.scrollTop = bottom - frame.clientHeight;
  }

  /** @param {TableData} data @param {SetTriggerValue} setValue */
  return (data, setValue) => {
    setTriggerValue = setValue;
    const lines = JSON.stringify(data.lines);
    if (lines === drawn) {
      mark(data);
      return;
    }
    const hadFocus = body.contains(parent.activeElement);
    draw(data);
    drawn = lines;
    mark(data);
    if (hadFocus) /** @type {HTMLElement | null} */ (body.querySelector("[tabindex='0']"))?.focus({preventScroll: true});
  };
}

/** @type {WeakMap<ShadowRoot, ReturnType<typeof createTable>>} */
const tables = new WeakMap();

/**
 * Mount or update the table, as Streamlit's components call it.
 *
 * @param {{data: TableData, parentElement: ShadowRoot, setTriggerValue: SetTriggerValue}} component
 */
export default function mount({data, parentElement, setTriggerValue}) {
  const update = tables.get(parentElement) ?? createTable(parentElement);
  tables.set(parentElement, update);
  update(data, setTriggerValue);
}
