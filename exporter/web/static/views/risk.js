/** The risk of portfolios: figures, limits, the emergency stop and scenarios, as of the last evaluation. */

import { foreign, html, setText } from "../core/dom.js";
import { ABSENT, isNumber } from "../core/format.js";

/** @typedef {import("./index.js").Context} Context */
/** @typedef {import("../core/types.js").RiskFigure} Figure */
/** @typedef {import("../core/types.js").RiskPortfolio} Portfolio */
/** @typedef {import("../core/types.js").Risk} Risk */
/** @typedef {{ root: HTMLElement, marks: HTMLElement, facts: HTMLElement, reasons: HTMLElement, tails: HTMLElement, scenarios: HTMLElement }} Card */

export const route = "/risk";
const PAUSE_MS = 5_000;
const AMOUNTS = ["value", "total", "leverage", "daily_profit"];
const SHARES = ["drawdown", "maximum_drawdown", "volatility", "exponential_volatility", "hhi", "largest_share", "mean_correlation", "uncertainty", "confidence"];

/** @param {Context} context */
export function title({ t }) {
  return t("view.risk");
}

/**
 * @param {Context} context
 * @param {HTMLElement} root
 * @returns {import("./index.js").Mounted}
 */
export function mount(context, root) {
  return new RiskView(context, root);
}

class RiskView {
  /**
   * @param {Context} context
   * @param {HTMLElement} root
   */
  constructor(context, root) {
    this.context = context;
    const { t } = context;
    this.at = html("span", { class: "count" });
    this.note = html("p", { class: "empty card" }, t("feeds.loading"));
    this.list = html("div", { class: "risk-cards" });
    this.held = html("p", { class: "risk-words risk-held", hidden: true });
    root.append(html("div", { class: "tools card" }, html("h1", {}, t("view.risk")), this.at), html("p", { class: "risk-words" }, t("risk.words")), this.note, this.held, this.list);
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    this.isClosed = false;
    this.timer = setInterval(() => this.#load(), PAUSE_MS);
    this.#load();
  }

  close() {
    this.isClosed = true;
    clearInterval(this.timer);
  }

  /** @param {import("../core/types.js").Changes} changes */
  update(changes) {
    if (changes.all) this.#load();
  }

  async #load() {
    const views = this.context.state.sections.sidecar?.views;
    if (!views) return;
    if (!views.includes("risk")) return this.#explain();
    try {
      const answer = await fetch("/api/v1/risk");
      if (this.isClosed) return;
      if (answer.ok) this.#show((await answer.json()).data);
    } catch {
      // The head tells that the sidecar does not answer; the figures stay, with their time.
    }
  }

  #explain() {
    const { t } = this.context;
    clearInterval(this.timer);
    this.note.hidden = false;
    this.note.replaceChildren(html("span", {}, t("risk.off")), html("code", { class: "example" }, "risk: {enabled: true, positions: {file: positions.yml}}"));
  }

  /** @param {Risk} risk */
  #show(risk) {
    if (this.isClosed) return;
    const { t, format } = this.context;
    setText(this.at, isNumber(risk.time_ms) ? t("risk.at", { time: format.clock(risk.time_ms) }) : "");
    const errors = Object.values(risk.errors);
    this.note.hidden = !errors.length && risk.portfolios.length > 0;
    this.note.replaceChildren(...(errors.length ? errors.map((error) => html("span", {}, foreign(error))) : [t("risk.none")]));
    const held = risk.symbols.flatMap(({ symbol, unconfirmed }) => (unconfirmed ? `${symbol} ${format.number(unconfirmed.price)}` : []));
    this.held.hidden = !held.length;
    this.held.replaceChildren(foreign(t("risk.unconfirmed", { prices: held.join(", ") })));
    this.#list(risk.portfolios.map(({ portfolio }) => portfolio));
    for (const portfolio of risk.portfolios) this.#fill(/** @type {Card} */ (this.cards.get(portfolio.portfolio)), portfolio);
  }

  /**
   * Cards stay in the page while their portfolios do: what has the focus keeps it, and tables stay where they are scrolled to.
   *
   * @param {string[]} names
   */
  #list(names) {
    if (names.length === this.cards.size && names.every((name) => this.cards.has(name))) return;
    this.cards = new Map(names.map((name) => [name, this.cards.get(name) ?? this.#card(name)]));
    this.list.replaceChildren(...[...this.cards.values()].map(({ root }) => root));
  }

  /**
   * @param {string} name
   * @returns {Card}
   */
  #card(name) {
    const marks = html("ul", { class: "marks-list" });
    const facts = html("dl", { class: "facts" });
    const reasons = html("p", { class: "risk-words" });
    const [tails, scenarios] = ["risk.tails", "risk.scenarios"].map((text) => html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": this.context.t(text) }));
    const root = html("section", { class: "card pad risk-portfolio", "aria-label": name }, html("h2", {}, foreign(name)), marks, facts, reasons, tails, scenarios);
    return { root, marks, facts, reasons, tails, scenarios };
  }

  /**
   * @param {Card} card
   * @param {Portfolio} portfolio
   */
  #fill(card, portfolio) {
    const { t } = this.context;
    const { figures } = portfolio;
    const reasons = [...new Set(Object.values(figures).flatMap((figure) => figure.reason ?? []))];
    const facts = [...AMOUNTS, ...SHARES].map((name) => html("div", {}, html("dt", {}, t(`risk_figure.${name}`)), html("dd", { title: figures[name].reason }, this.#text(name, figures[name]))));
    card.marks.replaceChildren(...this.#marks(portfolio));
    card.facts.replaceChildren(...facts);
    card.reasons.hidden = !reasons.length;
    setText(card.reasons, t("risk.unknown", { why: reasons.join("; ") }));
    card.tails.replaceChildren(...this.#table("risk.tails", ["method", "confidence", "var", "cvar"], portfolio.tails.map((tail) => [t(`risk_method.${tail.method}`), `${tail.confidence * 100} %`, this.#number(tail.var), this.#number(tail.cvar)])));
    card.scenarios.replaceChildren(...this.#table("risk.scenarios", ["scenario", "loss", "value", "leverage", "cvar"], portfolio.scenarios.map((each) => [each.scenario, this.#number(each.loss), this.#number(each.value), this.#number(each.leverage), this.#number(each.cvar)])));
  }

  /** @param {Portfolio} portfolio */
  #marks({ breaches, safety, emergency_stop: stop, is_here: isHere }) {
    const { t } = this.context;
    const texts = [
      stop.is_in_force && t("risk.stopped", { n: String(stop.number), why: stop.reasons.join(", ") }),
      safety.since_ms !== null && t("risk.tripped", { why: safety.tripped.join(", ") }),
      ...breaches.map(({ limit, symbol }) => t("risk.breach", { limit: symbol ? `${limit} ${symbol}` : limit })),
      !isHere && t("risk.elsewhere"),
    ].filter((text) => typeof text === "string");
    const marks = texts.map((text) => html("li", { class: "mark-over" }, foreign(text)));
    return marks.length ? marks : [html("li", { class: "mark-fine" }, t("risk.fine"))];
  }

  /**
   * @param {string} name
   * @param {string[]} columns
   * @param {string[][]} rows
   */
  #table(name, columns, rows) {
    const { t } = this.context;
    const heads = columns.map((column) => t(`risk_column.${column}`));
    const lines = rows.map(([first, ...cells]) => html("tr", {}, html("th", { scope: "row" }, foreign(first)), ...cells.map((cell, at) => html("td", { "data-label": heads[at + 1] }, cell))));
    const table = html("table", { class: "figures-table" }, html("thead", {}, html("tr", {}, ...heads.map((head) => html("th", { scope: "col" }, head)))), html("tbody", {}, ...lines));
    return [html("h3", {}, t(name)), table];
  }

  /**
   * @param {string} name
   * @param {Figure} figure
   */
  #text(name, figure) {
    return SHARES.includes(name) && name !== "mean_correlation" ? this.context.format.percent(figure.value) : this.#number(figure);
  }

  /** @param {Figure} figure */
  #number(figure) {
    return isNumber(figure.value) ? this.context.format.number(figure.value) : ABSENT;
  }
}
