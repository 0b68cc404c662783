/** The symbols of a feed with their status and age, a page at a time. */

import { foreign, html, setText } from "../core/dom.js";
import { iso, isNumber } from "../core/format.js";
import { getJson } from "../core/requests.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").SymbolRow} SymbolRow */

const PAGE = 50;

export class Symbols {
  /**
   * @param {Context} context
   * @param {string} name - of the feed
   */
  constructor(context, name) {
    this.context = context;
    this.name = name;
    const { t } = context;
    this.counts = html("span", { class: "count" });
    this.rows = html("tbody");
    const heads = ["symbol", "status", "messages", "age"].map((key) => html("th", { scope: "col" }, t(`symbols.${key}`)));
    const table = html("table", {}, html("thead", {}, html("tr", {}, ...heads)), this.rows);
    const list = html("div", { class: "list", tabindex: 0, role: "group", "aria-label": t("symbols.title") }, table);
    this.more = this.#button(t("symbols.next"), () => this.#turn());
    this.first = this.#button(t("symbols.first"), () => this.#show(""));
    this.error = html("p", { class: "empty", hidden: true });
    const head = html("div", { class: "tools" }, html("h2", {}, t("symbols.title")), this.counts, html("span", { class: "space" }), this.first, this.more);
    this.element = html("section", { class: "symbols card", "aria-label": t("symbols.title") }, head, list, this.error);
    this.after = "";
    this.next = "";
  }

  /** Show the same page as it is now. */
  load() {
    return this.#show(this.after);
  }

  /** @param {Record<string, number | null>} counts */
  showCounts(counts) {
    const { t, format } = this.context;
    const parts = ["active", "stale", "missing", "unexpected"].filter((status) => counts[status]);
    setText(this.counts, parts.map((status) => `${t(`symbol.${status}`)}: ${format.count(counts[status])}`).join(" · "));
  }

  /**
   * @param {string} text
   * @param {() => void} pressed
   */
  #button(text, pressed) {
    const button = html("button", { type: "button", disabled: true }, text);
    button.addEventListener("click", pressed);
    return button;
  }

  #turn() {
    return this.#show(this.next);
  }

  /** @param {string} after */
  async #show(after) {
    const query = new URLSearchParams({ feed: this.name, limit: String(PAGE), ...(after ? { after } : {}) });
    const { data, next, error } = await getJson(`/api/v1/symbols?${query}`);
    this.error.hidden = !error;
    if (error) this.error.replaceChildren(foreign(error));
    if (!data) return;
    this.after = after;
    this.next = next ?? "";
    this.more.disabled = !next;
    this.first.disabled = !after;
    this.rows.replaceChildren(...data.map((/** @type {SymbolRow} */ row) => this.#row(row)));
  }

  /** @param {SymbolRow} row */
  #row({ symbol, status, messages, last_seen_ms: seen }) {
    const { t, format, state } = this.context;
    const age = isNumber(seen) ? Math.max(0, (state.now() - seen) / 1000) : null;
    return html(
      "tr",
      { class: status ?? "" },
      html("th", { scope: "row" }, foreign(symbol)),
      html("td", { class: "status" }, status ? t(`symbol.${status}`) : ""),
      html("td", {}, format.count(messages)),
      html("td", { title: iso(seen) }, format.age(age)),
    );
  }
}
