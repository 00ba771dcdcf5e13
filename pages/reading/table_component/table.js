// The films of the visit as a table. The server sorts, so that the keys for the next film walk what the eye sees.
//
// data: {lines: [{number, file, finding, side, probability, warnings}], order, shown}. A line without a number waits.
// Tells the server: pressed (a film's number) and sorted ("arrival" or "probability").

const COLUMNS = [["No.", "arrival"], ["File"], ["Finding"], ["Probability", "probability"], ["Warnings"]];

function cell(row, text, className = "") {
  const one = row.appendChild(document.createElement("td"));
  one.textContent = text;
  one.className = className;
  // Names and reasons are cut to one line; the whole stands where the pointer rests.
  if (text.length > 20) one.title = text;
}

function createTable(parent) {
  const frame = parent.querySelector(".frame"), [head, body] = [frame.querySelector("thead tr"), frame.querySelector("tbody")];
  let tell = () => {}, drawn = "", shown = null;

  for (const [name, order] of COLUMNS) {
    const title = head.appendChild(document.createElement("th"));
    title.scope = "col";
    if (!order) {
      title.textContent = name;
      continue;
    }
    const button = title.appendChild(document.createElement("button"));
    [button.type, button.textContent, title.dataset.order] = ["button", name, order];
    button.title = order === "arrival" ? "List the films as they came" : "List the most probable films first";
    button.addEventListener("click", () => tell("sorted", order));
  }

  const press = row => row?.dataset.number && tell("pressed", Number(row.dataset.number));
  body.addEventListener("click", event => press(event.target.closest("tr")));
  body.addEventListener("keydown", event => {
    const row = event.target.closest("tr");
    const to = {ArrowUp: row?.previousElementSibling, ArrowDown: row?.nextElementSibling, Enter: row}[event.key];
    if (!to) return;
    event.preventDefault();
    to.focus();
    press(to);
  });

  function draw(data) {
    body.replaceChildren(...data.lines.map(line => {
      const row = document.createElement("tr");
      cell(row, line.number ? String(line.number) : "");
      cell(row, line.file);
      cell(row, line.finding, line.side);
      cell(row, line.probability);
      cell(row, line.warnings);
      if (line.number) row.dataset.number = line.number;
      else row.className = "waiting";
      return row;
    }));
  }

  function mark(data) {
    for (const title of head.children) {
      const isSorted = title.dataset.order === data.order;
      if (isSorted) title.setAttribute("aria-sort", data.order === "probability" ? "descending" : "ascending");
      else title.removeAttribute("aria-sort");
    }
    for (const row of body.children) {
      const isShown = row.dataset.number === String(data.shown);
      row.setAttribute("aria-selected", isShown);
      row.tabIndex = isShown ? 0 : -1;
      if (isShown && shown !== `${data.shown} ${data.order}`) bringIntoView(row);
    }
    shown = `${data.shown} ${data.order}`;
  }

  // Not scrollIntoView, which would move the page as well and with it the film.
  function bringIntoView(row) {
    const top = row.offsetTop - head.offsetHeight, bottom = row.offsetTop + row.offsetHeight;
    if (top < frame.scrollTop) frame.scrollTop = top;
    else if (bottom > frame.scrollTop + frame.clientHeight) frame.scrollTop = bottom - frame.clientHeight;
  }

  return (data, setTriggerValue) => {
    tell = setTriggerValue;
    const lines = JSON.stringify(data.lines);
    if (lines !== drawn) {
      const hadFocus = body.contains(parent.activeElement ?? parent.getRootNode().activeElement);
      draw(data);
      drawn = lines;
      mark(data);
      if (hadFocus) body.querySelector("[tabindex='0']")?.focus({preventScroll: true});
    } else mark(data);
  };
}

const tables = new WeakMap();

export default function ({data, parentElement, setTriggerValue}) {
  if (!tables.has(parentElement)) tables.set(parentElement, createTable(parentElement));
  tables.get(parentElement)(data, setTriggerValue);
}
