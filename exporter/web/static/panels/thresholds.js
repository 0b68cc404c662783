/** The limits by which a feed is evaluated and how they came about, and all figures of the feed that have no chart. */

import { html } from "../core/dom.js";
import { isNumber } from "../core/format.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").FeedDetail} FeedDetail */
/** @typedef {import("../core/types.js").Threshold} Threshold */
/** @typedef {{state: string, limit: string, how: string}} Line */

export class Thresholds {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.rows = html("tbody");
    const heads = ["state", "limit", "origin"].map((key) => html("th", { scope: "col" }, t(`threshold.${key}`)));
    const table = html("table", {}, html("thead", {}, html("tr", {}, ...heads)), this.rows);
    this.element = html("section", { class: "thresholds card pad", "aria-label": t("threshold.title") }, html("h2", {}, t("threshold.title")), table);
  }

  /** @param {FeedDetail} detail */
  show({ thresholds }) {
    const lines = thresholds ? this.#lines(thresholds) : [];
    this.rows.replaceChildren(
      ...lines.map(({ state, limit, how }) =>
        html("tr", {}, html("th", { scope: "row" }, this.context.t(`state.${state}`)), html("td", { class: "limit" }, limit), html("td", {}, how)),
      ),
    );
  }

  /**
   * @param {NonNullable<FeedDetail["thresholds"]>} thresholds
   * @returns {Line[]}
   */
  #lines({ silent, frozen, delayed, partial }) {
    const { t, format } = this.context;
    const pace = t("threshold.pace", { pace: format.duration(delayed.pace_seconds) });
    const share = t("threshold.active", { active: format.count(partial.active), expected: format.count(partial.expected) });
    return [
      { state: "silent", limit: this.#limit(silent.limit_seconds), how: this.#origin(silent) },
      { state: "frozen", limit: this.#limit(frozen.limit_seconds), how: this.#origin(frozen) },
      { state: "delayed", limit: this.#limit(delayed.limit_seconds), how: pace },
      { state: "partial", limit: format.percent(partial.coverage), how: partial.expected ? share : t("threshold.none_expected") },
    ];
  }

  /** @param {number | null} seconds */
  #limit(seconds) {
    const { t, format } = this.context;
    return isNumber(seconds) ? format.duration(seconds) : t("threshold.off");
  }

  /**
   * Say how a limit came about.
   * @param {Threshold} threshold
   */
  #origin(threshold) {
    const { t, format } = this.context;
    if (threshold.origin === "configured") return t("threshold.configured");
    const seconds = (/** @type {number | null} */ value) => format.duration(value);
    const seen = { n: format.count(threshold.intervals), time: seconds(threshold.observed_seconds) };
    if (threshold.origin === "not_learned") {
      const needed = { needed: format.count(threshold.needed_intervals), needed_time: seconds(threshold.needed_seconds) };
      return t("threshold.not_learned", { ...seen, ...needed });
    }
    const factor = threshold.factor * (threshold.is_doubled ? 2 : 1);
    const parts = { factor: format.number(factor), interval: seconds(threshold.interval_seconds), usual: seconds(threshold.usual_seconds) };
    const bounds = { minimum: seconds(threshold.minimum_seconds), maximum: seconds(threshold.maximum_seconds) };
    return [t("threshold.learned", { ...parts, ...bounds }), t("threshold.seen", seen), threshold.is_doubled && t("threshold.doubled")].filter(Boolean).join(" ");
  }
}

export class OtherFigures {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.rows = html("tbody");
    const { t } = context;
    const table = html("div", { class: "list", tabindex: 0, role: "group", "aria-label": t("figures.title") }, html("table", {}, this.rows));
    this.element = html("details", { class: "others card" }, html("summary", {}, t("figures.title")), table);
  }

  /** @param {import("../core/types.js").Figure[]} figures */
  show(figures) {
    this.rows.replaceChildren(
      ...figures.map(({ name, labels, help, value }) => {
        const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`).join(", ");
        const code = html("code", {}, pairs ? `${name}{${pairs}}` : name);
        return html("tr", {}, html("th", { scope: "row" }, code, html("small", {}, help)), html("td", {}, this.context.format.number(value)));
      }),
    );
  }
}
