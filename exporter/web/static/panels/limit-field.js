/** A field for a limit: the program's own until the reader tries another one. */

import { html, setAttribute } from "../core/dom.js";
import { tried, tryOut } from "../core/tried.js";

/** @typedef {import("../core/tried.js").Kind} Kind */

export class LimitField {
  /**
   * @param {{kind: Kind, name: string, label: string, unit: string, changed: () => void}} options
   */
  constructor({ kind, name, label, unit, changed }) {
    this.kind = kind;
    this.name = name;
    this.input = html("input", { type: "number", min: 0, step: "any", inputmode: "decimal", "aria-label": label });
    this.element = html("span", { class: "limit-field" }, this.input, html("small", {}, unit));
    this.input.addEventListener("input", () => {
      tryOut(kind, name, this.input.value);
      changed();
    });
  }

  /**
   * Show the limit, and return it: the one that is tried, else the program's own.
   * @param {number | null} own
   */
  limit(own) {
    const value = tried(this.kind, this.name);
    setAttribute(this.element, "data-tried", value !== null && value !== own);
    if (document.activeElement !== this.input) this.input.value = text(value ?? own);
    setAttribute(this.input, "placeholder", text(own));
    return value ?? own;
  }
}

/** @param {number | null} value */
function text(value) {
  return value === null ? "" : String(Math.round(value * 1000) / 1000);
}
