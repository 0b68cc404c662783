/** One feed: its figures, its state over time, thresholds, latencies, histograms, symbols and faults. */

import { html, setText } from "../core/dom.js";
import { getJson } from "../core/requests.js";
import { FeedHead } from "../panels/feed-head.js";
import { FeedTimes } from "../panels/feed-times.js";
import { Histograms } from "../panels/histograms.js";
import { Hops } from "../panels/hops.js";
import { Problems } from "../panels/problems.js";
import { OtherFigures, Thresholds } from "../panels/thresholds.js";
import { Symbols } from "../panels/symbols.js";

/** @typedef {import("./index.js").Context} Context */
/** @typedef {import("../core/types.js").FeedDetail} FeedDetail */

export const route = "/feeds/:name";

const REFRESH_MS = 5_000;

/**
 * @param {Context} _
 * @param {Record<string, string>} parameters
 */
export function title(_, { name }) {
  return name;
}

/**
 * @param {Context} context
 * @param {HTMLElement} root
 * @param {Record<string, string>} parameters
 * @returns {import("./index.js").Mounted}
 */
export function mount(context, root, { name }) {
  const view = new FeedView(context, root, name);
  return {
    update: (changes) => view.update(changes),
    drawHistory: () => view.drawHistory(),
    close: () => view.close(),
  };
}

class FeedView {
  /**
   * @param {Context} context
   * @param {HTMLElement} root
   * @param {string} name
   */
  constructor(context, root, name) {
    this.context = context;
    this.name = name;
    const { t } = context;
    this.head = new FeedHead(context, name);
    this.times = new FeedTimes(context);
    this.thresholds = new Thresholds(context);
    this.hops = new Hops(context);
    this.histograms = new Histograms(context);
    this.symbols = new Symbols(context, name);
    this.rejections = new Problems(context, "rejections", false);
    this.anomalies = new Problems(context, "anomalies", false);
    this.others = new OtherFigures(context);
    this.note = html("p", { class: "empty card" }, t("feeds.loading"));
    const faults = html("div", { class: "stack" }, this.anomalies.element, this.rejections.element);
    this.content = html(
      "div",
      { class: "view", hidden: true },
      this.times.element,
      html("div", { class: "pair" }, this.thresholds.element, this.hops.element),
      this.histograms.element,
      html("div", { class: "pair" }, this.symbols.element, faults),
      this.others.element,
    );
    root.append(this.head.element, this.note, this.content);
    this.askedMs = 0;
    this.isClosed = false;
    /** @type {FeedDetail | null} */
    this.detail = null;
    context.history.show([name]);
  }

  close() {
    this.isClosed = true;
  }

  /** @param {import("../core/types.js").Changes} changes */
  update(changes) {
    const feed = this.context.state.feeds.get(this.name);
    if (feed) this.head.show(feed);
    if (changes.all || changes.sampled) void this.symbols.load();
    const turned = changes.turned.some((each) => each.name === this.name);
    if (changes.all || turned || Date.now() - this.askedMs >= REFRESH_MS) void this.#refresh();
  }

  drawHistory() {
    this.times.drawHistory(this.name, this.context.state.feeds.get(this.name));
  }

  async #refresh() {
    this.askedMs = Date.now();
    const { data, status } = await getJson(`/api/v1/feed?${new URLSearchParams({ feed: this.name })}`);
    if (this.isClosed) return;
    if (data) this.#show(data);
    else if (status === 404) this.#showUnknown();
  }

  #showUnknown() {
    this.content.hidden = true;
    this.note.hidden = false;
    setText(this.note, this.context.t("feed.unknown"));
  }

  /** @param {FeedDetail} detail */
  #show(detail) {
    this.note.hidden = true;
    this.content.hidden = false;
    this.head.showDetail(detail);
    this.times.show(detail);
    this.thresholds.show(detail);
    this.hops.show(detail.histograms);
    this.histograms.show(detail.histograms);
    this.symbols.showCounts(detail.symbols);
    this.rejections.show(detail.rejections);
    this.anomalies.show(detail.anomalies);
    this.others.show(detail.figures);
  }
}
