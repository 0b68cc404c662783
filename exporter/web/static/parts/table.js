/** A table whose rows are brought up to date in place, so that what is being read or written in it stays. */

import { html, setAttribute, setText } from "../core/dom.js";

/** @typedef {string | Node} Cell */
/** @typedef {{key: string, cells: Cell[], className?: string}} TableRow - the first cell names the row */

export class Table {
  /**
   * @param {string} label
   * @param {string[]} heads
   */
  constructor(label, heads) {
    this.heads = heads;
    this.body = html("tbody");
    const titles = heads.map((text) => html(text ? "th" : "td", text ? { scope: "col" } : {}, text));
    const table = html("table", { class: "figures-table" }, html("thead", {}, html("tr", {}, ...titles)), this.body);
    this.element = html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": label }, table);
    this.keys = "";
  }

  /** @param {TableRow[]} rows */
  show(rows) {
    const keys = JSON.stringify(rows.map((row) => row.key));
    if (keys !== this.keys) this.body.replaceChildren(...rows.map((row) => this.#row(row.cells.length)));
    this.keys = keys;
    rows.forEach((row, at) => {
      const element = this.body.children[at];
      setAttribute(element, "class", row.className || null);
      row.cells.forEach((cell, column) => put(element.children[column], cell));
    });
  }

  /** @param {number} cells */
  #row(cells) {
    const rest = Array.from({ length: cells - 1 }, (_, at) => html("td", { "data-label": this.heads[at + 1] || null }));
    return html("tr", {}, html("th", { scope: "row" }), ...rest);
  }
}

/**
 * @param {Element} element
 * @param {Cell} cell
 */
function put(element, cell) {
  if (typeof cell === "string") setText(element, cell);
  else if (element.firstChild !== cell || element.lastChild !== cell) element.replaceChildren(cell);
}
