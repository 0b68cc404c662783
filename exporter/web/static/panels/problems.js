/** The last rejections and anomalies, with the place of the record in Kafka. */

import { foreign, holdsFocus, html, setText } from "../core/dom.js";
import { iso } from "../core/format.js";
import { feedLink } from "./feed-columns.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Rejection} Rejection */
/** @typedef {import("../core/types.js").Anomaly} Anomaly */
/**
 * @typedef {object} Problem
 * @property {string} kind - as in the labels of the metrics
 * @property {string} title
 * @property {string | null | undefined} feed
 * @property {string} detail
 * @property {string} place
 * @property {number} count
 * @property {number} timeMs
 */

/** A list of problems of one sort, the newest first. */
export class Problems {
  /**
   * @param {Context} context
   * @param {"rejections" | "anomalies"} sort
   * @param {boolean} [showsFeed]
   */
  constructor(context, sort, showsFeed = true) {
    this.context = context;
    this.sort = sort;
    this.showsFeed = showsFeed;
    const title = context.t(`problems.${sort}`);
    this.count = html("span", { class: "count" });
    this.list = html("ul");
    this.empty = html("p", { class: "empty" }, context.t(`problems.no_${sort}`));
    const scroller = html("div", { class: "list", tabindex: 0, role: "group", "aria-label": title }, this.list, this.empty);
    const head = html("div", { class: "tools" }, html("h2", {}, title), this.count);
    this.element = html("section", { class: `problems ${sort} card`, "aria-label": title }, head, scroller);
    /** @type {readonly (Rejection | Anomaly)[]} */
    this.shown = [];
    this.text = "";
  }

  /**
   * @param {readonly (Rejection | Anomaly)[]} found
   * @param {number} [total] - how many there were, if more than the counts of these
   */
  show(found, total) {
    const { format } = this.context;
    setText(this.count, format.count(total ?? found.reduce((sum, each) => sum + each.count, 0)));
    this.empty.hidden = found.length > 0;
    const text = JSON.stringify(found);
    if (text !== this.text && !holdsFocus(this.list)) {
      this.text = text;
      this.shown = found;
      this.list.replaceChildren(...found.map((each) => this.#item(this.#problem(each))));
    }
    this.shown.forEach((each, at) => {
      const time = this.list.children[at].querySelector("time");
      if (time) setText(time, this.#ago(each.time_ms));
    });
  }

  /** @param {number} ms */
  #ago(ms) {
    const { t, format, state } = this.context;
    return t("time.ago", { duration: format.age(Math.max(0, (state.now() - ms) / 1000)) });
  }

  /**
   * @param {Rejection | Anomaly} found
   * @returns {Problem}
   */
  #problem(found) {
    const { t } = this.context;
    const { feed, count, time_ms: timeMs } = found;
    const place = `${found.topic}/${found.partition}/${found.offset}`;
    if ("reason" in found) {
      return { kind: found.reason, title: t(`reason.${found.reason}`), feed, detail: found.detail, place, count, timeMs };
    }
    return { kind: found.kind, title: t(`anomaly.${found.kind}`), feed, detail: found.meaning ?? "", place, count, timeMs };
  }

  /** @param {Problem} problem */
  #item({ kind, title, feed, detail, place, count, timeMs }) {
    const { format } = this.context;
    return html(
      "li",
      {},
      html("div", { class: "what" }, html("strong", { title: kind }, title), html("span", { class: "times" }, `× ${format.count(count)}`)),
      html("time", { datetime: iso(timeMs), title: iso(timeMs) }),
      this.showsFeed && feed && html("a", { href: feedLink(feed), "data-view": true, class: "name" }, foreign(feed)),
      detail && html("div", { class: "detail" }, foreign(detail)),
      html("code", { class: "place", title: place }, foreign(place)),
    );
  }
}
