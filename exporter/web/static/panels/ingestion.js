/** Services that ingest data in rounds, and the ages of their rates, as their events show them. */

import { foreign, html, setText } from "../core/dom.js";
import { ABSENT, isNumber, iso } from "../core/format.js";
import { Badge, rank } from "../parts/states.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").IngestionSource} Source */
/** @typedef {import("../core/types.js").RateRow} RateRow */
/** @typedef {{element: HTMLTableRowElement, badge: Badge, reason: HTMLElement}} Line */

export class Ingestion {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.sourceCount = html("span", { class: "count" });
    this.sources = html("tbody");
    this.rateCount = html("span", { class: "count" });
    this.rates = html("tbody");
    const sources = this.#card("sources", this.sourceCount, ["source", "state", "open", "oldest", "usual", "completed", "last_event", "clock"], this.sources);
    const rates = this.#card("rates", this.rateCount, ["currency", "rate_age"], this.rates);
    this.element = html("div", { class: "ingestion", hidden: true }, sources, rates);
    /** @type {Map<string, Line>} */
    this.lines = new Map();
    this.currencies = "";
  }

  update() {
    const { ingestion } = this.context.state.sections;
    this.element.hidden = !ingestion;
    if (!ingestion) return;
    const { format } = this.context;
    setText(this.sourceCount, format.count(ingestion.sources.length));
    setText(this.rateCount, format.count(ingestion.rates.length));
    this.#showSources([...ingestion.sources].sort((one, other) => rank(one.state) - rank(other.state) || one.name.localeCompare(other.name)));
    this.#showRates(ingestion.rates, ingestion.rate_limit_ms);
  }

  /**
   * @param {"sources" | "rates"} kind
   * @param {HTMLElement} count
   * @param {string[]} columns
   * @param {HTMLElement} rows
   */
  #card(kind, count, columns, rows) {
    const { t } = this.context;
    const title = t(`ingestion.${kind}`);
    const heads = columns.map((column) => html("th", { scope: "col" }, t(`ingestion.${column}`)));
    const table = html("table", {}, html("thead", {}, html("tr", {}, ...heads)), rows);
    const scroller = html("div", { class: "list", tabindex: 0, role: "group", "aria-label": title }, table);
    return html("section", { class: `${kind} card`, "aria-label": title }, html("div", { class: "tools" }, html("h2", {}, title), count), scroller);
  }

  /** @param {Source[]} sources */
  #showSources(sources) {
    const known = this.lines;
    this.lines = new Map(sources.map(({ name }) => [name, known.get(name) ?? this.#line(name)]));
    const elements = [...this.lines.values()].map((line) => line.element);
    const isSame = elements.length === this.sources.children.length && elements.every((each, at) => each === this.sources.children[at]);
    if (!isSame) this.sources.replaceChildren(...elements);
    for (const source of sources) this.#show(/** @type {Line} */ (this.lines.get(source.name)), source);
  }

  /**
   * @param {string} name
   * @returns {Line}
   */
  #line(name) {
    const badge = new Badge();
    const reason = html("div", { class: "reason" });
    const cells = Array.from({ length: 6 }, () => html("td"));
    const element = html("tr", {}, html("th", { scope: "row" }, foreign(name)), html("td", { class: "state" }, badge.element, reason), ...cells);
    return { element, badge, reason };
  }

  /**
   * @param {Line} line
   * @param {Source} source
   */
  #show({ element, badge, reason }, source) {
    const { t, format } = this.context;
    badge.set(source.state, t(`state.${source.state}`));
    setText(reason, source.reason);
    const texts = [
      format.count(source.open),
      this.#since(source.open_rounds[0]?.since_ms),
      this.#duration(source.usual_ms),
      format.count(source.completed),
      this.#since(source.last_event_ms),
      this.#duration(source.clock_offset_ms),
    ];
    texts.forEach((text, at) => setText(element.cells[at + 2], text));
    element.cells[3].title = source.open_rounds.map((round) => `${round.correlation_id} ${iso(round.since_ms)}`).join("\n");
  }

  /**
   * @param {RateRow[]} rates
   * @param {number} limitMs
   */
  #showRates(rates, limitMs) {
    const currencies = rates.map(([currency]) => currency).join("\n");
    if (currencies !== this.currencies) {
      this.currencies = currencies;
      this.rates.replaceChildren(...rates.map(([currency]) => html("tr", {}, html("th", { scope: "row" }, foreign(currency)), html("td", {}, html("span"), html("span", { class: "old" })))));
    }
    const { t, state } = this.context;
    rates.forEach(([, updatedMs], at) => {
      const [age, old] = this.rates.rows[at].cells[1].children;
      setText(age, this.#since(updatedMs));
      setText(old, state.now() - updatedMs > limitMs ? t("ingestion.old") : "");
    });
  }

  /** @param {number | null | undefined} ms - Unix milliseconds */
  #since(ms) {
    return isNumber(ms) ? this.context.format.age(Math.max(0, (this.context.state.now() - ms) / 1000)) : ABSENT;
  }

  /** @param {number | null} ms */
  #duration(ms) {
    return isNumber(ms) ? this.context.format.duration(ms / 1000) : ABSENT;
  }
}
