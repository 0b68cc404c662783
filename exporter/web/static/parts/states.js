/** The states of feeds: their order, and a shape for each, so that no state is told by its colour alone. */

import { html, setAttribute, setText, svg } from "../core/dom.js";

/** The worst first. */
export const STATES = ["sidecar_stalled", "silent", "rejected", "frozen", "delayed", "partial", "unknown", "maintenance", "ok"];

/** Outlines in a square of 16; `fill` is filled, `line` is drawn. */
const SHAPES = /** @type {Record<string, {fill?: string, line?: string}>} */ ({
  ok: { fill: "M8 3a5 5 0 1 1 0 10a5 5 0 0 1 0-10z" },
  partial: { fill: "M8 3a5 5 0 0 0 0 10z", line: "M8 3a5 5 0 1 1 0 10a5 5 0 0 1 0-10z" },
  delayed: { line: "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11zM8 5v3.2l2.2 1.3" },
  frozen: { line: "M8 2v12M2.8 5l10.4 6M2.8 11l10.4-6" },
  rejected: { line: "M3.5 3.5l9 9M12.5 3.5l-9 9" },
  silent: { fill: "M2.5 2.5h11v11h-11z" },
  sidecar_stalled: { fill: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z" },
  maintenance: { line: "M8 2l6 6l-6 6l-6-6z" },
  unknown: { line: "M8 3a5 5 0 1 1 0 10a5 5 0 0 1 0-10z" },
});

/**
 * Return the rank of a state, 0 for the worst; one that this page does not know ranks with `unknown`.
 * @param {string | undefined} state
 */
export function rank(state) {
  const at = STATES.indexOf(state ?? "unknown");
  return at < 0 ? STATES.indexOf("unknown") : at;
}

/**
 * Return the shape of a state, for eyes only: a text stands beside it.
 * @param {string} state
 */
export function shape(state) {
  const { fill, line } = SHAPES[state] ?? SHAPES.unknown;
  return svg(
    "svg",
    { class: "shape", viewBox: "0 0 16 16", "aria-hidden": "true" },
    fill && svg("path", { d: fill, class: "fill" }),
    line && svg("path", { d: line, class: "line" }),
  );
}

/** The state of a feed as shape and word; `set` changes it. */
export class Badge {
  constructor() {
    this.word = html("span");
    this.element = html("span", { class: "badge" }, this.word);
    this.state = "";
  }

  /**
   * @param {string} state
   * @param {string} text - its word in the language of the reader
   */
  set(state, text) {
    setText(this.word, text);
    if (state === this.state) return;
    this.state = state;
    setAttribute(this.element, "class", `badge state-${state in SHAPES ? state : "unknown"}`);
    this.element.replaceChildren(shape(state), this.word);
  }
}
