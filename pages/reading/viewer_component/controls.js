// The rows below the picture: what can be pressed, and how it shows what holds.

// Every button tells `act` its name; the opacity is a slider of our own, because an <input> would take N and P from the
// page.
function createControls(root, act, signal) {
  const part = name => root.querySelector(`[data-is="${name}"]`);
  root.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (button && !button.disabled) act(button.dataset.act);
    else if (!event.target.closest?.(".menu")) openMenu(false);
  }, {signal});
  const slider = part("opacity"), menu = part("presets"), opener = root.querySelector("[data-act=presets]");
  const slide = event => {
    const box = slider.getBoundingClientRect();
    act(`opacityTo:${Math.round(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * 20) * 5}`);
  };
  slider.addEventListener("pointerdown", event => {
    slider.setPointerCapture(event.pointerId);
    slide(event);
  }, {signal});
  slider.addEventListener("pointermove", event => event.buttons && slide(event), {signal});
  document.addEventListener("pointerdown", event => {
    if (!event.composedPath().includes(menu.parentElement)) openMenu(false);
  }, {signal});
  menu.addEventListener("keydown", event => {
    const items = [...menu.children], now = items.indexOf(root.activeElement);
    const next = {ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: items.length - 1}[event.key];
    if (next === undefined) return;
    items[(next + items.length) % items.length].focus();
    event.preventDefault();
    event.stopPropagation();
  }, {signal});

  function openMenu(isOpen) {
    if (menu.hidden !== isOpen) return false;
    const hadFocus = menu.contains(root.activeElement);
    menu.hidden = !isOpen;
    opener.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) (menu.querySelector("[aria-checked=true]") ?? menu.firstElementChild)?.focus();
    else if (hadFocus) opener.focus();
    return true;
  }

  function offerPresets(presets) {
    menu.replaceChildren(...presets.map((preset, index) => {
      const item = document.createElement("button");
      Object.assign(item, {type: "button", textContent: preset.name, tabIndex: -1});
      item.dataset.act = `preset:${index}`;
      item.setAttribute("role", "menuitemradio");
      if (index < 9) {
        const key = document.createElement("small");
        key.textContent = String(index + 1);
        item.append(key);
      }
      return item;
    }));
  }

  function writeHelp() {
    const help = part("help");
    const close = document.createElement("button");
    Object.assign(close, {type: "button", textContent: "Close"});
    close.dataset.act = "help";
    help.replaceChildren(...HELP.map(([title, rows]) => {
      const list = document.createElement("dl"), heading = document.createElement("h3");
      heading.textContent = title;
      for (const [keys, meaning] of rows) {
        const [term, words] = [document.createElement("dt"), document.createElement("dd")];
        [term.textContent, words.textContent] = [keys, meaning];
        list.append(term, words);
      }
      const group = document.createElement("div");
      group.append(heading, list);
      return group;
    }), close);
  }

  const press = (name, isOn) => root.querySelector(`[data-act="${name}"]`)?.setAttribute("aria-pressed", String(isOn));
  const css = (colours, index, alpha = 1) =>
    `rgba(${colours[3 * index]},${colours[3 * index + 1]},${colours[3 * index + 2]},${alpha})`;

  // Over the film, colour fades with influence; the bar fades alike. Of contours, the bar is where levels are chosen.
  function drawBar(mode, levels, offered, colours) {
    const bar = part("bar"), key = mode + levels.join();
    if (bar.dataset.key === key) return;
    bar.dataset.key = key;
    const title = document.createElement("b");
    if (mode === "contour") {
      title.textContent = "Lines, of the strongest";
      bar.replaceChildren(title, ...offered.map(level => {
        const button = document.createElement("button"), swatch = document.createElement("i");
        Object.assign(button, {type: "button", textContent: `${Math.round(100 * level)} %`});
        button.dataset.act = `level:${level}`;
        button.setAttribute("aria-pressed", String(levels.includes(level)));
        swatch.style.background = css(colours, Math.round(level * 255));
        button.prepend(swatch);
        return button;
      }));
    } else {
      const [low, high, ramp] = ["span", "span", "i"].map(name => document.createElement(name));
      [title.textContent, low.textContent, high.textContent] = ["Influence", "low", "high"];
      const stops = Array.from({length: 18}, (_, index) => css(colours, index * 15, (index * 15) / 255));
      ramp.style.background = `linear-gradient(90deg, ${stops.join()})`;
      ramp.className = "ramp";
      bar.replaceChildren(title, low, ramp, high);
    }
  }

  function show({choices, presets, preset, isDragged, isInverted, isWindowTool, hasMap, offered, colours}) {
    for (const layout of ["beside", "one", "flicker"]) press(`layout:${layout}`, choices.layout === layout);
    for (const mode of ["overlay", "contour"]) press(`mode:${mode}`, choices.mode === mode);
    press("side:for", !choices.against);
    press("side:against", choices.against);
    press("invert", isInverted);
    press("windowTool", isWindowTool);
    part("mapRow").hidden = !hasMap;
    // What a name explains after its colon stands in the menu and in the title; the button would cut it off.
    const name = presets[preset]?.name ?? "";
    part("preset").textContent = `Window: ${name.split(":")[0]}${isDragged ? ", changed" : ""}`;
    opener.title = `${name}. Ready-made windows: keys 1 to 9`;
    for (const [index, item] of [...menu.children].entries())
      item.setAttribute("aria-checked", String(index === preset && !isDragged));
    const percent = Math.round(100 * choices.opacity);
    part("opacityBox").hidden = choices.mode === "contour";
    slider.setAttribute("aria-valuenow", String(percent));
    slider.setAttribute("aria-valuetext", `${percent} %`);
    slider.style.setProperty("--at", percent / 100);
    part("opacityWords").textContent = `${percent} %`;
    if (hasMap) drawBar(choices.mode, choices.levels, offered, colours);
  }

  writeHelp();
  return {part, show, openMenu, offerPresets};
}
