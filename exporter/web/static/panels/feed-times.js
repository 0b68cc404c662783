/** The state of a feed over the last minutes as a band with its changes, and its figures as lines below. */

import { foreign, html, setText } from "../core/dom.js";
import { iso, isNumber } from "../core/format.js";
import { bandChart, lineChart } from "../parts/charts.js";
import { shape } from "../parts/states.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").FeedDetail} FeedDetail */
/** @typedef {import("../core/types.js").Transition} Transition */

/** What the band shows where the sidecar keeps no history. */
const SECONDS = 900;
const TICKS = [1, 2 / 3, 1 / 3, 0];
const LISTED = 6;

export class FeedTimes {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.band = html("div");
    this.changes = html("ol", { class: "changes" });
    this.lines = ["rate", "latency", "age"].map((key) => {
      const now = html("span", { class: "more" });
      const plot = html("div");
      const element = html("figure", {}, html("figcaption", {}, html("span", {}, t(`line.${key}`)), now), plot);
      return { key, now, plot, element };
    });
    const figures = html("div", { class: "three" }, ...this.lines.map((line) => line.element));
    this.element = html("section", { class: "times card pad", "aria-label": t("times.title") }, html("h2", {}, t("times.title")), this.band, this.changes, figures);
  }

  /** @param {FeedDetail} detail */
  show({ transitions }) {
    const { t, format, state } = this.context;
    const to = state.now();
    const spanMs = (state.sections.sidecar?.history_seconds || SECONDS) * 1000;
    const from = to - spanMs;
    const stretches = transitions
      .filter((each) => (each.until_ms ?? to) > from)
      .map((each) => ({ state: each.state, word: t(`state.${each.state}`), from: each.since_ms, to: each.until_ms ?? to, title: this.#sentence(each, to) }));
    const ticks = TICKS.map((share) => ({ at: to - share * spanMs, text: format.minute.format(to - share * spanMs) }));
    const label = [t("times.band", { n: Math.round(spanMs / 60_000) }), ...stretches.map((each) => each.title)].join(". ");
    this.band.replaceChildren(bandChart({ label, stretches, from, to, ticks }));
    const latest = transitions.slice(-LISTED).reverse();
    this.changes.replaceChildren(...latest.map((each) => this.#change(each, to)));
  }

  /**
   * @param {string} name
   * @param {import("../core/types.js").Feed | undefined} feed
   */
  drawHistory(name, feed) {
    const series = this.context.history.feeds.get(name);
    if (!series) return;
    const { format } = this.context;
    const limit = feed?.silent_limit_seconds ?? null;
    const seconds = (/** @type {number} */ value) => format.duration(value);
    this.#line(0, series.batches_per_second, null, (value) => format.number(value));
    this.#line(1, series.latency_ms.map((ms) => (ms === null ? null : ms / 1000)), null, seconds);
    this.#line(2, series.age_seconds, limit, seconds);
  }

  /**
   * @param {number} at
   * @param {(number | null)[]} values
   * @param {number | null} limit
   * @param {(value: number) => string} text
   */
  #line(at, values, limit, text) {
    const { t } = this.context;
    const { key, now, plot } = this.lines[at];
    const known = values.filter(isNumber);
    const range = known.length ? t("line.range", { least: text(Math.min(...known)), most: text(Math.max(...known)) }) : t("line.none");
    setText(now, range);
    plot.replaceChildren(lineChart({ label: `${t(`line.${key}`)}: ${range}`, values, limit }));
  }

  /**
   * @param {Transition} transition
   * @param {number} nowMs
   */
  #sentence({ state, since_ms: since, until_ms: until }, nowMs) {
    const { t, format } = this.context;
    return t("times.stretch", { state: t(`state.${state}`), from: format.clock(since), duration: format.age(((until ?? nowMs) - since) / 1000) });
  }

  /**
   * @param {Transition} transition
   * @param {number} nowMs
   */
  #change(transition, nowMs) {
    const { t, format } = this.context;
    const { state, since_ms: since, until_ms: until, reasons } = transition;
    return html(
      "li",
      { class: `state-${state}` },
      html("time", { datetime: iso(since), title: iso(since) }, format.clock(since)),
      html("span", { class: "word" }, shape(state), t(`state.${state}`)),
      html("span", { class: "for" }, format.age(((until ?? nowMs) - since) / 1000)),
      html("span", { class: "why" }, foreign(reasons.join("; "))),
    );
  }
}
