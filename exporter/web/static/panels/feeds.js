/** The table of all feeds: filtered by text and state, sorted by any column, both kept in the address. */

import { parameter, setParameters } from "../core/address.js";
import { html, setText } from "../core/dom.js";
import { Grid } from "../parts/grid.js";
import { rank } from "../parts/states.js";
import { columnsOf } from "./feed-columns.js";

/** @typedef {import("../core/types.js").Feed} Feed */
/** @typedef {import("../parts/grid.js").Sort} Sort */
/** @typedef {import("../views/index.js").Context} Context */

/** While figures change by the second, rows that are sorted by them change places only so often. */
const REORDER_MS = 5_000;
const DEFAULT_SORT = { key: "state", descends: false };

export class FeedsTable {
  /**
   * @param {Context} context
   * @param {(states: Set<string>) => void} filtered - called with the states that are shown, none for all
   */
  constructor(context, filtered) {
    this.context = context;
    this.filtered = filtered;
    const { t } = context;
    this.columns = columnsOf(context);
    this.grid = new Grid({
      label: t("feeds.title"),
      columns: this.columns,
      keyOf: (feed) => feed.name,
      sortedBy: (sort) => this.#sortBy(sort),
      rowsChanged: () => this.#tellHistory(),
    });
    this.search = html("input", { type: "search", placeholder: t("feeds.filter"), "aria-label": t("feeds.filter"), spellcheck: "false", autocomplete: "off" });
    this.search.addEventListener("input", () => this.#filter({ q: this.search.value }, "replace"));
    this.clear = html("button", { type: "button", class: "plain", hidden: true }, t("feeds.clear"));
    this.clear.addEventListener("click", () => this.reset());
    this.count = html("span", { class: "count", role: "status" });
    this.order = this.#orderSelect();
    this.empty = html("p", { class: "empty", hidden: true });
    const tools = html("div", { class: "tools" }, html("h2", {}, t("feeds.title")), this.count, this.search, this.order, this.clear);
    this.element = html("section", { class: "feeds card", "aria-label": t("feeds.title") }, tools, this.grid.element, this.empty);
    this.sort = DEFAULT_SORT;
    this.text = "";
    /** @type {Set<string>} */
    this.states = new Set();
    this.arrangedMs = 0;
    this.readAddress();
  }

  close() {
    this.grid.close();
  }

  /** Take filter and order from the address. */
  readAddress() {
    this.text = parameter("q") ?? "";
    if (this.search.value !== this.text) this.search.value = this.text;
    this.states = new Set((parameter("state") ?? "").split(",").filter(Boolean));
    this.sort = readSort(parameter("sort"), this.columns.map((column) => column.key));
    this.grid.markSort(this.sort);
    this.order.value = sortText(this.sort);
    this.clear.hidden = !this.text && !this.states.size;
    this.filtered(this.states);
    this.arrange();
  }

  /** @param {string} state */
  toggleState(state) {
    const states = new Set(this.states);
    if (!states.delete(state)) states.add(state);
    this.#filter({ state: [...states].join() }, "push");
  }

  /** Show all feeds again. */
  reset() {
    if (!this.text && !this.states.size) return;
    this.#filter({ q: null, state: null }, "push");
    this.search.focus();
  }

  /** @param {import("../core/types.js").Changes} changes */
  update(changes) {
    const { feeds } = this.context.state;
    const came = [...changes.feeds].some((name) => !feeds.has(name)) || feeds.size !== this.known;
    if (changes.all || came || changes.turned.length || Date.now() - this.arrangedMs > REORDER_MS) this.arrange();
    else this.grid.renderSoon();
  }

  drawHistory() {
    this.grid.renderSoon();
  }

  /** Filter and sort all feeds, and show them. */
  arrange() {
    const { state, t, format } = this.context;
    this.arrangedMs = Date.now();
    this.known = state.feeds.size;
    const items = sorted(this.#matching(), this.sort, this.columns);
    const isAll = items.length === state.feeds.size;
    const values = { n: format.count(items.length), all: format.count(state.feeds.size) };
    setText(this.count, t(isAll ? "feeds.count" : "feeds.count_of", values));
    this.empty.hidden = items.length > 0;
    setText(this.empty, t(state.feeds.size ? "feeds.none_match" : state.figuresMs ? "feeds.none" : "feeds.loading"));
    this.grid.show(items);
  }

  #tellHistory() {
    if (this.context.state.sections.sidecar?.history_seconds) this.context.history.show(this.grid.rows.keys());
  }

  #matching() {
    const feeds = [...this.context.state.feeds.values()];
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length && !this.states.size) return feeds;
    return feeds.filter(({ name, state }) => {
      if (this.states.size && !this.states.has(state ?? "elsewhere")) return false;
      return words.every((word) => name.toLowerCase().includes(word));
    });
  }

  /** @param {Sort} sort */
  #sortBy(sort) {
    this.#filter({ sort: sortText(sort) === sortText(DEFAULT_SORT) ? null : sortText(sort) }, "push");
  }

  /**
   * @param {Record<string, string | null>} changes
   * @param {"push" | "replace"} how
   */
  #filter(changes, how) {
    setParameters(changes, how);
    this.grid.element.scrollTop = 0;
    this.readAddress();
  }

  /** The order for narrow screens, which have no head of the table. */
  #orderSelect() {
    const { t } = this.context;
    const select = html("select", { class: "order", "aria-label": t("feeds.order") });
    for (const column of this.columns) {
      if (!column.order) continue;
      const sort = { key: column.key, descends: Boolean(column.descends) };
      const other = { ...sort, descends: !sort.descends };
      for (const each of [sort, other]) {
        const text = `${column.title} ${each.descends ? "↓" : "↑"}`;
        select.append(html("option", { value: sortText(each) }, text));
      }
    }
    select.addEventListener("change", () => this.#sortBy(readSort(select.value, this.columns.map((column) => column.key))));
    return select;
  }
}

/** @param {Sort} sort */
function sortText({ key, descends }) {
  return descends ? `-${key}` : key;
}

/**
 * @param {string | null} text
 * @param {string[]} keys
 * @returns {Sort}
 */
function readSort(text, keys) {
  const descends = Boolean(text?.startsWith("-"));
  const key = (text ?? "").replace(/^-/, "");
  return keys.includes(key) ? { key, descends } : DEFAULT_SORT;
}

/**
 * Return the feeds in order; those without the figure come last, equal ones by name.
 * @param {Feed[]} feeds
 * @param {Sort} sort
 * @param {import("../parts/grid.js").Column<Feed>[]} columns
 */
function sorted(feeds, sort, columns) {
  const order = columns.find((column) => column.key === sort.key)?.order ?? ((feed) => rank(feed.state ?? undefined));
  const sign = sort.descends ? -1 : 1;
  const keyed = feeds.map((feed) => ({ feed, value: order(feed) }));
  keyed.sort((a, b) => {
    if (a.value === b.value) return compare(a.feed.name, b.feed.name);
    if (a.value === null || b.value === null) return a.value === null ? 1 : -1;
    return sign * compare(a.value, b.value);
  });
  return keyed.map((each) => each.feed);
}

/**
 * @param {number | string} a
 * @param {number | string} b
 */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
