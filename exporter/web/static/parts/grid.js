/**
 * A table of any number of rows, of which only those in sight are elements. It is a grid to the keyboard and to screen
 * readers: one stop of the tab key, arrows between rows, Enter on the link in the row, headers that are buttons.
 */

import { html, setAttribute } from "../core/dom.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} key - its name in the address and in the style
 * @property {string} title
 * @property {boolean} [descends] - whether the first press sorts from the largest
 * @property {((item: T) => number | string | null) | null} order - what to sort by; null: not sortable
 * @property {(cell: HTMLElement) => (item: T, at: number) => void} make - fills a cell, returns what updates it
 */
/**
 * @template T
 * @typedef {object} Row
 * @property {HTMLElement} element
 * @property {string} key
 * @property {number} at
 * @property {((item: T, at: number) => void)[]} updates
 */
/** @typedef {{key: string, descends: boolean}} Sort */

/** Rows above and below those in sight, so that a quick scroll shows no gap. */
const SPARE = 6;

/** @template T */
export class Grid {
  /**
   * @param {{label: string, columns: Column<T>[], keyOf: (item: T) => string, sortedBy: (sort: Sort) => void,
   *   rowsChanged: () => void}} options - `rowsChanged`: other items are in sight
   */
  constructor({ label, columns, keyOf, sortedBy, rowsChanged }) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.sortedBy = sortedBy;
    this.rowsChanged = rowsChanged;
    /** @type {T[]} */
    this.items = [];
    /** @type {Map<string, Row<T>>} */
    this.rows = new Map();
    /** @type {Row<T>[]} */
    this.spare = [];
    this.active = 0;
    this.rowHeight = 0;
    this.height = 0;
    this.waiting = 0;
    this.heads = new Map(columns.map((column) => [column.key, this.#head(column)]));
    this.body = html("div", { role: "rowgroup", class: "rows" });
    const head = html("div", { role: "row", class: "row head", "aria-rowindex": 1 }, ...this.heads.values());
    const grid = { role: "grid", class: "grid", "aria-label": label };
    this.grid = html("div", grid, html("div", { role: "rowgroup", class: "heads" }, head), this.body);
    this.element = html("div", { class: "scroller" }, this.grid);
    this.element.addEventListener("scroll", () => this.renderSoon(), { passive: true });
    this.body.addEventListener("keydown", (event) => this.#pressed(event));
    this.body.addEventListener("focusin", (event) => this.#entered(event));
    this.resizing = new ResizeObserver(() => this.#measure());
    this.resizing.observe(this.element);
  }

  /** Stop watching its size. */
  close() {
    this.resizing.disconnect();
    cancelAnimationFrame(this.waiting);
  }

  /**
   * Show these items, in this order.
   * @param {T[]} items
   */
  show(items) {
    this.items = items;
    setAttribute(this.grid, "aria-rowcount", items.length + 1);
    if (!this.rowHeight && this.element.isConnected) this.#measure();
    this.#stretch();
    this.render();
  }

  /**
   * Mark the column that the items are sorted by.
   * @param {Sort} sort
   */
  markSort(sort) {
    for (const [key, head] of this.heads) {
      const order = sort.descends ? "descending" : "ascending";
      if (head.querySelector("button")) setAttribute(head, "aria-sort", key === sort.key ? order : "none");
    }
  }

  /** Bring the rows in sight up to date with their items. */
  render() {
    this.waiting = 0;
    if (!this.rowHeight) return;
    const top = this.element.scrollTop;
    const first = Math.max(0, Math.floor(top / this.rowHeight) - SPARE);
    const end = Math.min(this.items.length, Math.ceil((top + this.height) / this.rowHeight) + SPARE);
    const focused = this.#focused();
    const wanted = this.#wanted(first, end, focused);
    this.#retire(wanted);
    let isOther = false;
    let next = this.body.firstElementChild;
    for (const [key, at] of wanted) {
      isOther ||= !this.rows.has(key);
      const row = this.#place(key, at);
      if (row.element === next) next = next.nextElementSibling;
      else this.body.insertBefore(row.element, next);
    }
    if (focused) this.#keepFocus(focused);
    this.#markStop(first);
    if (isOther) this.rowsChanged();
  }

  /**
   * Let the row with the focus be the active one wherever it is now; an element that is moved loses the focus.
   * @param {Row<T>} row
   */
  #keepFocus(row) {
    this.active = row.at;
    if (document.activeElement === document.body) this.#link(row)?.focus({ preventScroll: true });
  }

  /** @param {Column<T>} column */
  #head(column) {
    const head = html("div", { role: "columnheader", class: `cell ${column.key}` });
    if (!column.order) {
      head.append(column.title);
      return head;
    }
    const button = html("button", { type: "button" }, column.title);
    button.addEventListener("click", () => this.#sort(column, head));
    head.append(button);
    return head;
  }

  /**
   * @param {Column<T>} column
   * @param {HTMLElement} head
   */
  #sort(column, head) {
    const now = head.getAttribute("aria-sort");
    const descends = now === "none" ? Boolean(column.descends) : now === "ascending";
    this.sortedBy({ key: column.key, descends });
  }

  /** Bring the rows up to date in the next frame, in a script of its own; never while the page is out of sight. */
  renderSoon() {
    this.waiting ||= requestAnimationFrame(() => this.render());
  }

  #measure() {
    const style = getComputedStyle(this.element);
    this.rowHeight = parseFloat(style.getPropertyValue("--row"));
    this.height = this.element.clientHeight;
    this.#stretch();
    for (const row of this.rows.values()) row.at = -1;
    this.render();
  }

  #stretch() {
    this.body.style.height = `${this.items.length * this.rowHeight}px`;
  }

  /**
   * Return the keys and places of the rows that are elements; the one with the focus stays one, wherever it is.
   * @param {number} first
   * @param {number} end
   * @param {Row<T> | undefined} focused
   * @returns {Map<string, number>}
   */
  #wanted(first, end, focused) {
    const wanted = new Map();
    for (let at = first; at < end; at++) wanted.set(this.keyOf(this.items[at]), at);
    if (focused && !wanted.has(focused.key)) {
      const at = this.items.findIndex((item) => this.keyOf(item) === focused.key);
      if (at >= 0) wanted.set(focused.key, at);
    }
    return wanted;
  }

  /** @param {Map<string, number>} wanted */
  #retire(wanted) {
    for (const [key, row] of this.rows) {
      if (wanted.has(key)) continue;
      this.rows.delete(key);
      this.spare.push(row);
    }
    // What is not needed again in this round is taken out below; elements that are reused stay where they are.
    this.spare.forEach((row) => row.element.remove());
  }

  /**
   * @param {string} key
   * @param {number} at
   */
  #place(key, at) {
    let row = this.rows.get(key);
    if (!row) {
      row = this.spare.pop() ?? this.#make();
      row.key = key;
      this.rows.set(key, row);
    }
    if (row.at !== at) {
      row.at = at;
      row.element.style.top = `${at * this.rowHeight}px`;
      setAttribute(row.element, "aria-rowindex", at + 2);
    }
    for (const update of row.updates) update(this.items[at], at);
    return row;
  }

  /** @returns {Row<T>} */
  #make() {
    const cells = this.columns.map(({ key }) => html("div", { role: "gridcell", class: `cell ${key}` }));
    const element = html("div", { role: "row", class: "row" }, ...cells);
    return { element, key: "", at: -1, updates: this.columns.map((column, at) => column.make(cells[at])) };
  }

  /** @param {Row<T>} row */
  #link(row) {
    return row.element.querySelector("a");
  }

  #focused() {
    const element = document.activeElement?.closest?.(".row");
    return [...this.rows.values()].find((row) => row.element === element);
  }

  /**
   * Make the active row, or the first in sight, the one that the tab key reaches.
   * @param {number} first
   */
  #markStop(first) {
    const rows = [...this.rows.values()];
    const stop = rows.find((row) => row.at === this.active) ?? rows.find((row) => row.at >= first);
    for (const row of rows) this.#link(row)?.setAttribute("tabindex", row === stop ? "0" : "-1");
  }

  /** @param {FocusEvent} event */
  #entered(event) {
    const row = this.#focused();
    if (row && event.target === this.#link(row)) this.active = row.at;
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const page = Math.max(1, Math.floor(this.height / this.rowHeight) - 2);
    const moves = /** @type {Record<string, number>} */ ({
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    });
    const move = moves[event.key];
    if (move === undefined || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#go(Math.min(this.items.length - 1, Math.max(0, this.active + move)));
  }

  /** @param {number} at */
  #go(at) {
    this.active = at;
    const top = at * this.rowHeight;
    const room = this.height - this.rowHeight - this.body.offsetTop;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top > this.element.scrollTop + room) this.element.scrollTop = top - room;
    this.render();
    const row = [...this.rows.values()].find((each) => each.at === at);
    if (row) this.#link(row)?.focus({ preventScroll: true });
  }
}
