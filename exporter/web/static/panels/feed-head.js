/** The head of a feed's view: name, state with reasons, and its present figures. */

import { linkTo } from "../core/address.js";
import { foreign, html, setText } from "../core/dom.js";
import { iso, isNumber } from "../core/format.js";
import { Badge } from "../parts/states.js";
import { ageOf, nameParts } from "./feed-columns.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Feed} Feed */

const FIGURES = ["rate", "messages", "size", "unique", "efficiency", "symbols", "latency", "age", "batches", "all_messages", "anomalies"];

export class FeedHead {
  /**
   * @param {Context} context
   * @param {string} name
   */
  constructor(context, name) {
    this.context = context;
    const { t } = context;
    this.badge = new Badge();
    this.since = html("span", { class: "since" });
    this.reasons = html("ul", { class: "reasons" });
    this.partitions = html("p", { class: "from" });
    this.figures = new Map(FIGURES.map((key) => [key, html("dd", { "data-figure": key })]));
    const title = html("h1", { class: "name" });
    const named = foreign("");
    nameParts(named, name);
    title.append(named);
    const rows = [...this.figures].map(([key, value]) => html("div", {}, html("dt", {}, t(`column.${key}`)), value));
    this.element = html(
      "section",
      { class: "feed-head card", "aria-label": t("feed.title") },
      html("a", { class: "back", href: this.#back(), "data-view": true }, `← ${t("feed.back")}`),
      html("div", { class: "title" }, title, this.badge.element, this.since),
      this.reasons,
      this.partitions,
      html("dl", { class: "facts" }, ...rows),
    );
    this.element.querySelector(".badge")?.setAttribute("hidden", "");
  }

  /** @param {Feed} feed */
  show(feed) {
    const { t, format, state } = this.context;
    const word = feed.state ?? "elsewhere";
    this.badge.element.hidden = false;
    this.badge.set(word, t(`state.${word}`));
    const since = feed.state_since_ms;
    setText(this.since, isNumber(since) ? t("feed.since", { duration: format.age((state.now() - since) / 1000) }) : "");
    this.since.title = iso(since);
    this.#showReasons(feed);
    const texts = this.#texts(feed, ageOf(feed, state.now()));
    for (const [key, element] of this.figures) setText(element, texts[key]);
  }

  /** @param {import("../core/types.js").FeedDetail} detail */
  showDetail({ partitions, planned }) {
    const { t } = this.context;
    const text = [partitions.length ? t("feed.partitions", { partitions: partitions.join(", ") }) : "", planned ?? ""].filter(Boolean).join(" · ");
    if (this.partitions.textContent !== text) this.partitions.replaceChildren(foreign(text));
  }

  /**
   * @param {Feed} feed
   * @param {number | null} age
   * @returns {Record<string, string>}
   */
  #texts(feed, age) {
    const { format } = this.context;
    const active = feed.symbols_active ?? feed.symbols;
    return {
      rate: format.number(feed.batches_per_second),
      messages: format.number(feed.messages_per_second),
      size: format.count(feed.batch_size),
      unique: format.count(feed.unique_symbols),
      efficiency: format.number(feed.efficiency),
      symbols: feed.symbols_expected === null ? format.count(active) : `${format.count(active)} / ${format.count(feed.symbols_expected)}`,
      latency: format.duration(feed.latency_ms === null ? null : feed.latency_ms / 1000),
      age: format.age(age),
      batches: format.count(feed.batches),
      all_messages: format.count(feed.messages),
      anomalies: format.count(feed.anomalies),
    };
  }

  /** @param {Feed} feed */
  #showReasons({ reasons, scope, state }) {
    const { t } = this.context;
    const texts = state === "silent" && scope ? [...reasons, t("feed.scope", { scope: t(`scope.${scope}`) })] : reasons;
    if (texts.join("\n") === this.shownReasons) return;
    this.shownReasons = texts.join("\n");
    this.reasons.hidden = !texts.length;
    this.reasons.className = `reasons state-${state}`;
    this.reasons.replaceChildren(...texts.map((text) => html("li", {}, foreign(text))));
  }

  /** The overview as it was left, if this view was opened from there. */
  #back() {
    const from = history.state?.from;
    return typeof from === "string" && (from === "/" || from.startsWith("/?")) ? from : linkTo("/");
  }
}
