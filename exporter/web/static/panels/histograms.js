/** The histograms of a feed, drawn: all of /metrics, since the sidecar has started. */

import { html, setText } from "../core/dom.js";
import { isNumber } from "../core/format.js";
import { histogramChart } from "../parts/charts.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Histogram} Histogram */

/** Fewer bars than this would look like a wall. */
const BARS_MIN = 6;
const QUANTILES = /** @type {const} */ (["p50", "p99"]);

export class Histograms {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.list = html("div", { class: "charts" });
    const head = html("h2", {}, t("histograms.title"), " ", html("small", {}, t("histograms.since")));
    this.element = html("section", { class: "histograms card pad", "aria-label": t("histograms.title") }, head, this.list);
    /** @type {Map<string, {text: Element, plot: Element, count: number}>} */
    this.drawn = new Map();
  }

  /** @param {Histogram[]} histograms - those without observations are left out */
  show(histograms) {
    const shown = histograms.filter((each) => each.count > 0);
    const keys = shown.map(identity);
    if (keys.join("\n") !== [...this.drawn.keys()].join("\n")) this.#build(shown);
    for (const histogram of shown) this.#draw(histogram);
  }

  /** @param {Histogram[]} histograms */
  #build(histograms) {
    this.drawn.clear();
    const figures = histograms.map((histogram) => {
      const text = html("span", { class: "more" });
      const plot = html("div");
      this.drawn.set(identity(histogram), { text, plot, count: 0 });
      return html("figure", { title: histogram.help }, html("figcaption", {}, html("span", {}, this.#title(histogram)), text), plot);
    });
    this.list.replaceChildren(...figures);
  }

  /** @param {Histogram} histogram */
  #draw(histogram) {
    const drawn = this.drawn.get(identity(histogram));
    if (!drawn || drawn.count === histogram.count) return;
    drawn.count = histogram.count;
    const { t, format } = this.context;
    const text = (/** @type {number | null} */ value) => (histogram.unit === "seconds" ? format.duration(value) : format.number(value));
    const summary = t("histograms.summary", { n: format.count(histogram.count), mean: text(histogram.sum / histogram.count), p50: text(histogram.p50), p99: text(histogram.p99) });
    setText(drawn.text, summary);
    const [first, end] = extent(histogram.counts);
    const most = Math.max(...histogram.counts);
    const bars = histogram.counts.slice(first, end).map((count, at) => {
      const bound = histogram.bounds[first + at];
      const upper = bound === undefined ? "∞" : text(bound);
      return { text: upper, share: count / most, title: t("histograms.bar", { bound: upper, n: format.count(count) }) };
    });
    const marks = QUANTILES.flatMap((name) => {
      const value = histogram[name];
      return isNumber(value) ? [{ text: name, at: placeOf(value, histogram.bounds) - first }] : [];
    });
    drawn.plot.replaceChildren(histogramChart({ label: `${this.#title(histogram)}: ${summary}`, bars, marks }));
  }

  /** @param {Histogram} histogram */
  #title({ name, help, labels }) {
    const { t } = this.context;
    const key = `histogram.${name.replace(/^marketdata_/, "")}`;
    const title = t(key) === key ? help : t(key);
    return labels.stage ? `${title}: ${t(`hop.${labels.stage}`)}` : title;
  }
}

/** @param {Histogram} histogram */
function identity({ name, labels }) {
  return `${name} ${JSON.stringify(labels)}`;
}

/**
 * Return the first and the last but one of the buckets to draw: those that are filled, and some beside them.
 * @param {number[]} counts
 * @returns {[number, number]}
 */
export function extent(counts) {
  let first = Math.max(0, counts.findIndex((count) => count > 0) - 1);
  let end = Math.min(counts.length, counts.findLastIndex((count) => count > 0) + 2);
  while (end - first < Math.min(BARS_MIN, counts.length)) {
    if (first > 0) first -= 1;
    if (end - first < BARS_MIN && end < counts.length) end += 1;
  }
  return [first, end];
}

/**
 * Return where a value lies, counted in buckets from the left.
 * @param {number} value
 * @param {number[]} bounds
 */
export function placeOf(value, bounds) {
  const at = bounds.findIndex((bound) => value <= bound);
  if (at < 0) return bounds.length;
  const lower = at ? bounds[at - 1] : 0;
  return at + (value - lower) / (bounds[at] - lower || 1);
}
