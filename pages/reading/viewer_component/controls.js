/**
 * The controls below the stage: what can be pressed, and how it shows the current state.
 *
 * @module controls
 */

import {HELP} from "./keys.js";
import {CONTOUR_LEVELS} from "./settings.js";

/**
 * @typedef {object} ControlState
 * @property {import("./settings.js").Settings} settings
 * @property {import("./voi_lut.js").Preset[]} presets
 * @property {number} preset place of the one in use
 * @property {boolean} isWindowModified
 * @property {boolean} invert
 * @property {boolean} isWindowTool
 * @property {boolean} hasEvidence
 * @property {boolean} hasLungs
 * @property {Uint8Array} colormap
 */

/**
 * Every button passes its command to `act`. The opacity is a slider of its own kind, because an <input> would take the
 * keys N and P from the page.
 *
 * @param {ShadowRoot} root
 * @param {(command: string) => boolean} act
 * @param {AbortSignal} signal
 */
export function createControls(root, act, signal) {
  /** @param {string} name @returns {HTMLElement} */
  const part = name => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
  const slider = part("opacity"), menu = part("presets");
  const opener = /** @type {HTMLElement} */ (root.querySelector("[data-act=presets]"));
  const menuItems = () => /** @type {HTMLElement[]} */ ([...menu.children]);

  root.addEventListener("click", event => {
    const target = /** @type {HTMLElement} */ (event.target);
    const button = /** @type {HTMLButtonElement | null} */ (target.closest("[data-act]"));
    if (button && !button.disabled) act(button.dataset.act ?? "");
    else if (!target.closest(".menu")) openMenu(false);
  }, {signal});
  /** @param {PointerEvent} event */
  const slide = event => {
    const box = slider.getBoundingClientRect();
    act(`opacityTo:${Math.round(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * 20) * 5}`);
  };
  slider.addEventListener("pointerdown", event => {
    slider.setPointerCapture(event.pointerId);
    slide(event);
  }, {signal});
  slider.addEventListener("pointermove", event => {
    if (event.buttons) slide(event);
  }, {signal});
  document.addEventListener("pointerdown", event => {
    if (!event.composedPath().includes(/** @type {HTMLElement} */ (menu.parentElement))) openMenu(false);
  }, {signal});
  menu.addEventListener("keydown", event => {
    const items = menuItems(), now = items.indexOf(/** @type {HTMLElement} */ (root.activeElement));
    /** @type {Record<string, number>} */
    const places = {ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: items.length - 1};
    const next = places[event.key];
    if (next === undefined) return;
    items[(next + items.length) % items.length].focus();
    event.preventDefault();
    event.stopPropagation();
  }, {signal});

  /** @param {boolean} isOpen */
  function openMenu(isOpen) {
    if (menu.hidden !== isOpen) return false;
    const hadFocus = menu.contains(root.activeElement);
    menu.hidden = !isOpen;
    opener.setAttribute("aria-expanded", String(isOpen));
    const current = /** @type {HTMLElement | null} */ (menu.querySelector("[aria-checked=true]"));
    if (isOpen) (current ?? menuItems()[0])?.focus();
    else if (hadFocus) opener.focus();
    return true;
  }

  /** @param {import("./voi_lut.js").Preset[]} presets */
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
    const close = document.createElement("button");
    Object.assign(close, {type: "button", textContent: "Close"});
    close.dataset.act = "help";
    part("help").replaceChildren(...HELP.map(([title, rows]) => {
      const list = document.createElement("dl"), heading = document.createElement("h3");
      heading.textContent = title;
      for (const [keys, meaning] of rows) {
        const [term, description] = [document.createElement("dt"), document.createElement("dd")];
        [term.textContent, description.textContent] = [keys, meaning];
        list.append(term, description);
      }
      const group = document.createElement("div");
      group.append(heading, list);
      return group;
    }), close);
  }

  /** @param {string} command @param {boolean} isPressed */
  const press = (command, isPressed) =>
    root.querySelector(`[data-act="${command}"]`)?.setAttribute("aria-pressed", String(isPressed));
  /** @param {Uint8Array} colormap @param {number} index */
  const css = (colormap, index, alpha = 1) =>
    `rgba(${colormap[3 * index]},${colormap[3 * index + 1]},${colormap[3 * index + 2]},${alpha})`;

  /**
   * Draw the legend: the colours as they are over the image, fading where evidence is low, or the contour levels.
   *
   * @param {import("./settings.js").Settings} settings
   * @param {Uint8Array} colormap
   */
  function drawLegend({mode, levels}, colormap) {
    const legend = part("legend"), key = mode + levels.join();
    if (legend.dataset.key === key) return;
    legend.dataset.key = key;
    const title = document.createElement("b");
    if (mode === "contour") {
      title.textContent = "Contours (% of maximum)";
      legend.replaceChildren(title, ...CONTOUR_LEVELS.map(level => {
        const button = document.createElement("button"), swatch = document.createElement("i");
        Object.assign(button, {type: "button", textContent: `${Math.round(100 * level)} %`});
        button.dataset.act = `level:${level}`;
        button.setAttribute("aria-pressed", String(levels.includes(level)));
        swatch.style.background = css(colormap, Math.round(level * 255));
        button.prepend(swatch);
        return button;
      }));
    } else {
      const [low, high, ramp] = ["span", "span", "i"].map(name => document.createElement(name));
      [title.textContent, low.textContent, high.textContent] = ["Evidence", "low", "high"];
      const stops = Array.from({length: 18}, (_, index) => css(colormap, index * 15, (index * 15) / 255));
      ramp.style.background = `linear-gradient(90deg, ${stops.join()})`;
      ramp.className = "ramp";
      legend.replaceChildren(title, low, ramp, high);
    }
  }

  /** @param {ControlState} state */
  function show({settings, presets, preset, isWindowModified, invert, isWindowTool, hasEvidence, hasLungs, colormap}) {
    for (const layout of ["beside", "one", "flicker"]) press(`layout:${layout}`, settings.layout === layout);
    for (const mode of ["overlay", "contour"]) press(`mode:${mode}`, settings.mode === mode);
    press("sign:for", !settings.against);
    press("sign:against", settings.against);
    press("invert", invert);
    press("windowTool", isWindowTool);
    press("lungs", settings.lungs);
    /** @type {HTMLElement} */ (root.querySelector("[data-act=lungs]")).hidden = !hasLungs;
    part("evidenceRow").hidden = !hasEvidence;
    // What a name explains after its colon is in the menu and in the title; the button would cut it off.
    const name = presets[preset]?.name ?? "";
    part("preset").textContent = `Window: ${name.split(":")[0]}${isWindowModified ? ", modified" : ""}`;
    opener.title = `${name}. Window presets: keys 1 to 9`;
    for (const [index, item] of menuItems().entries())
      item.setAttribute("aria-checked", String(index === preset && !isWindowModified));
    const percent = Math.round(100 * settings.opacity);
    part("opacityBox").hidden = settings.mode === "contour";
    slider.setAttribute("aria-valuenow", String(percent));
    slider.setAttribute("aria-valuetext", `${percent} %`);
    slider.style.setProperty("--at", String(percent / 100));
    part("opacityText").textContent = `${percent} %`;
    if (hasEvidence) drawLegend(settings, colormap);
  }

  writeHelp();
  return {part, show, openMenu, offerPresets};
}
