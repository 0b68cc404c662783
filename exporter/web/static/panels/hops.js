/** Where the time goes between exchange and sidecar: median and 99th percentile of each hop on one scale. */

import { html } from "../core/dom.js";
import { isNumber } from "../core/format.js";
import { HOPS } from "./tiles.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Histogram} Histogram */

const STAGE_LATENCY = "marketdata_stage_latency_seconds";
const END_TO_END = "marketdata_end_to_end_latency_seconds";

export class Hops {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.rows = html("tbody");
    const heads = [t("hops.hop"), t("hops.median"), t("hops.p99"), ""].map((text) => html(text ? "th" : "td", text ? { scope: "col" } : {}, text));
    const table = html("table", {}, html("thead", {}, html("tr", {}, ...heads)), this.rows);
    this.element = html("section", { class: "hop-table card pad", "aria-label": t("hops.title") }, html("h2", {}, t("hops.title")), table);
  }

  /** @param {Histogram[]} histograms */
  show(histograms) {
    const found = HOPS.map((hop) => ({ hop, histogram: histograms.find((each) => each.name === STAGE_LATENCY && each.labels.stage === hop) }));
    const whole = { hop: "end_to_end", histogram: histograms.find((each) => each.name === END_TO_END) };
    const most = Math.max(...[...found, whole].map(({ histogram }) => histogram?.p99 ?? 0), 1e-9);
    this.rows.replaceChildren(...[...found, whole].map(({ hop, histogram }) => this.#row(hop, histogram, most)));
  }

  /**
   * @param {string} hop
   * @param {Histogram | undefined} histogram
   * @param {number} most
   */
  #row(hop, histogram, most) {
    const { t, format } = this.context;
    const { p50 = null, p99 = null } = histogram ?? {};
    const range = html("div", { class: "range", "aria-hidden": "true" }, bar("p99", p99, most), bar("p50", p50, most));
    return html(
      "tr",
      { class: hop },
      html("th", { scope: "row" }, t(`hop.${hop}`)),
      html("td", {}, format.duration(p50)),
      html("td", {}, format.duration(p99)),
      html("td", { class: "ranges" }, range),
    );
  }
}

/**
 * @param {string} className
 * @param {number | null} value
 * @param {number} most
 */
function bar(className, value, most) {
  const element = html("div", { class: className });
  element.style.width = isNumber(value) ? `${Math.max(0.5, (value / most) * 100)}%` : "0";
  return element;
}
