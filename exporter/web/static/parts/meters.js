/** Amounts against a whole: bars, and one bar in parts. */

import { html, setAttribute, setText } from "../core/dom.js";

/** From which share on an amount is near its limit. */
const NEAR = 0.8;

/** An amount against its limit, with both as texts. */
export class Meter {
  /** @param {string} name */
  constructor(name) {
    this.bar = html("div", { class: "bar" });
    this.text = html("span", { class: "figure" });
    this.track = html("div", { class: "track", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100 }, this.bar);
    this.element = html("div", { class: "meter" }, html("span", { class: "name" }, name), this.text, this.track);
  }

  /**
   * @param {number} share - of the limit
   * @param {string} text
   */
  set(share, text) {
    const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
    this.bar.style.width = `${percent}%`;
    setAttribute(this.element, "class", share >= NEAR ? "meter near" : "meter");
    setAttribute(this.track, "aria-valuenow", percent);
    setAttribute(this.track, "aria-valuetext", text);
    setText(this.text, text);
  }
}

/** @typedef {{key: string, name: string, share: number, text: string}} Part */

/** A whole in parts, with a legend that has their names and figures. */
export class Parts {
  constructor() {
    this.bar = html("div", { class: "parts-bar", "aria-hidden": "true" });
    this.legend = html("dl", { class: "legend" });
    this.element = html("div", { class: "parts" }, this.bar, this.legend);
    this.shown = "";
  }

  /** @param {Part[]} parts */
  set(parts) {
    const keys = parts.map((part) => part.key).join();
    if (keys !== this.shown) this.#build(parts);
    this.shown = keys;
    parts.forEach((part, at) => {
      /** @type {HTMLElement} */ (this.bar.children[at]).style.flexGrow = String(Math.max(0, part.share));
      setText(/** @type {Element} */ (this.legend.children[at].lastElementChild), part.text);
    });
  }

  /** @param {Part[]} parts */
  #build(parts) {
    this.bar.replaceChildren(...parts.map((part) => html("div", { class: `part ${part.key}` })));
    this.legend.replaceChildren(
      ...parts.map((part) => html("div", {}, html("dt", { class: `key ${part.key}` }, part.name), html("dd", {}))),
    );
  }
}
