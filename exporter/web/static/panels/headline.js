/** Whether the sidecar is ready and healthy, with reasons and warnings, and how many feeds are in which state. */

import { foreign, html, setAttribute, setText, svg } from "../core/dom.js";
import { STATES, shape } from "../parts/states.js";

/** @typedef {import("../views/index.js").Context} Context */

const GOOD = "M3.5 8.5l3 3l6-7";
const BAD = "M8 3v6M8 12v.5";

export class Headline {
  /**
   * @param {Context} context
   * @param {(state: string) => void} toggled - a state was chosen, or no longer is
   */
  constructor(context, toggled) {
    this.context = context;
    this.toggled = toggled;
    const { t } = context;
    this.status = html("div", { class: "verdict" });
    this.texts = html("ul", { class: "reasons" });
    this.total = html("span", { class: "total" });
    this.bar = html("div", { class: "states-bar", "aria-hidden": "true" });
    this.chips = html("div", { class: "chips", role: "group", "aria-label": t("headline.by_state") });
    this.element = html(
      "section",
      { class: "headline card", "aria-label": t("headline.title") },
      html("div", { class: "status" }, this.status, this.texts),
      html("div", { class: "counts" }, html("div", { class: "line" }, this.total), this.bar, this.chips),
    );
    this.shown = "";
    /** @type {Set<string>} */
    this.chosen = new Set();
  }

  /** @param {Set<string>} states - those that the table is limited to */
  choose(states) {
    this.chosen = states;
    for (const chip of this.chips.children) {
      setAttribute(chip, "aria-pressed", states.has(chip.getAttribute("data-state") ?? "") ? "true" : "false");
    }
  }

  update() {
    const { ready, healthy, states = {} } = this.context.state.sections;
    const shown = JSON.stringify([ready, healthy, states]);
    if (shown === this.shown || !ready || !healthy) return;
    this.shown = shown;
    this.#showStatus(ready, healthy);
    this.#showStates(states);
  }

  /**
   * @param {import("../core/types.js").Status} ready
   * @param {import("../core/types.js").Status} healthy
   */
  #showStatus(ready, healthy) {
    const { t } = this.context;
    this.status.replaceChildren(
      verdict(ready.ok, t(ready.ok ? "headline.ready" : "headline.not_ready"), "h1"),
      verdict(healthy.ok, t(healthy.ok ? "headline.healthy" : "headline.not_healthy"), "p"),
    );
    const reasons = [...ready.reasons, ...healthy.reasons].map((text) => reason("bad", t("headline.reason"), text));
    const warnings = [...ready.warnings, ...healthy.warnings].map((text) => reason("warning", t("headline.warning"), text));
    this.texts.replaceChildren(...reasons, ...warnings);
    this.texts.hidden = !this.texts.firstChild;
  }

  /** @param {Record<string, number>} states */
  #showStates(states) {
    const { t, format } = this.context;
    const present = STATES.filter((state) => states[state] || this.chosen.has(state)).reverse();
    const total = Object.values(states).reduce((sum, n) => sum + n, 0);
    setText(this.total, t("headline.feeds", { n: format.count(total) }));
    this.bar.replaceChildren(...present.map((state) => segment(state, states[state] ?? 0)));
    const focused = document.activeElement?.getAttribute("data-state");
    this.chips.replaceChildren(...present.map((state) => this.#chip(state, format.count(states[state] ?? 0), t(`state.${state}`))));
    this.choose(this.chosen);
    if (focused) /** @type {HTMLElement | null} */ (this.chips.querySelector(`[data-state="${CSS.escape(focused)}"]`))?.focus();
  }

  /**
   * @param {string} state
   * @param {string} count
   * @param {string} name
   */
  #chip(state, count, name) {
    const attributes = { type: "button", class: `chip state-${state}`, "data-state": state };
    const chip = html("button", attributes, shape(state), html("b", {}, count), " ", name);
    chip.addEventListener("click", () => this.toggled(state));
    return chip;
  }
}

/**
 * @param {boolean} ok
 * @param {string} text
 * @param {"h1" | "p"} tag
 */
function verdict(ok, text, tag) {
  const mark = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ok ? GOOD : BAD }));
  return html(tag, { class: ok ? "good" : "bad" }, mark, text);
}

/**
 * @param {string} className
 * @param {string} kind
 * @param {string} text
 */
function reason(className, kind, text) {
  return html("li", { class: className }, html("b", {}, kind), " ", foreign(text));
}

/**
 * @param {string} state
 * @param {number} count
 */
function segment(state, count) {
  const element = html("div", { class: `segment state-${state}` });
  element.style.flexGrow = String(count);
  return element;
}
