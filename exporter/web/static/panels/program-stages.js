/** Stages against their thresholds, with the bottleneck, and operations against their targets. */

import { foreign, html, setText } from "../core/dom.js";
import { isNumber } from "../core/format.js";
import { Sparkline } from "../parts/sparkline.js";
import { Table } from "../parts/table.js";
import { LimitField } from "./limit-field.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Stage} Stage */
/** @typedef {import("../core/types.js").Operation} Operation */
/** @typedef {{name: HTMLElement, field: LimitField, share: HTMLElement, bar: HTMLElement, text: HTMLElement, trend: Sparkline, mark: HTMLElement}} Parts */

/**
 * Return a section of the view of a program, which hides while it has nothing to show.
 * @param {string} name
 * @param {string} title
 * @param {...Node} children
 */
export function section(name, title, ...children) {
  return html("section", { class: `${name} card pad`, "aria-label": title, hidden: true }, html("h2", {}, title), ...children);
}

export class Stages {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    const heads = ["stage", "median", "p95", "p99", "threshold", "share", "trend"].map((key) => t(`stages.${key}`));
    this.table = new Table(t("stages.title"), heads);
    this.verdict = html("p", { class: "bottleneck", role: "status" });
    this.element = section("stages", t("stages.title"), this.verdict, this.table.element);
    /** @type {Map<string, Parts>} */
    this.parts = new Map();
    /** @type {Stage[]} */
    this.stages = [];
  }

  /** @param {Stage[]} stages */
  show(stages) {
    this.stages = stages;
    this.element.hidden = !stages.length;
    for (const stage of stages) this.#partsOf(stage.stage).trend.draw(stage.history);
    this.draw();
  }

  /** Mark what is over its threshold, by the thresholds that are tried. */
  draw() {
    const limits = new Map(this.stages.map((stage) => [stage, this.#limit(stage)]));
    const over = this.stages.filter((stage) => isNumber(stage.p95_seconds) && stage.p95_seconds > (limits.get(stage) ?? Infinity));
    const parts = over.filter((stage) => isNumber(stage.share));
    const worst = parts.reduce((/** @type {Stage | null} */ most, each) => ((each.share ?? 0) > (most?.share ?? -1) ? each : most), null);
    this.table.show(this.stages.map((stage) => this.#row(stage, over.includes(stage), stage === worst)));
    this.#conclude(over.length, worst);
  }

  /**
   * @param {number} over
   * @param {Stage | null} worst
   */
  #conclude(over, worst) {
    const { t, format } = this.context;
    const key = worst ? "stages.bottleneck" : over ? "stages.over_whole" : "stages.none_over";
    const text = t(key, { stage: worst?.stage ?? "", share: format.percent(worst?.share) });
    if (this.verdict.textContent !== text) this.verdict.replaceChildren(foreign(text));
    this.verdict.className = over ? "bottleneck bad" : "bottleneck";
  }

  /**
   * @param {Stage} stage
   * @param {boolean} isOver
   * @param {boolean} isWorst
   */
  #row(stage, isOver, isWorst) {
    const { t, format } = this.context;
    const { name, field, share, bar, text, trend, mark } = this.#partsOf(stage.stage);
    setText(mark, isWorst ? t("stages.is_bottleneck") : isOver ? t("stages.is_over") : "");
    mark.hidden = !isOver;
    bar.style.width = `${Math.min(1, stage.share ?? 0) * 100}%`;
    setText(text, format.percent(stage.share));
    const seconds = [stage.p50_seconds, stage.p95_seconds, stage.p99_seconds].map((value) => format.duration(value));
    const className = isWorst ? "over worst" : isOver ? "over" : "";
    return { key: stage.stage, className, cells: [name, ...seconds, field.element, share, trend.element] };
  }

  /** @param {Stage} stage */
  #limit(stage) {
    const own = isNumber(stage.threshold_seconds) ? stage.threshold_seconds * 1000 : null;
    const limit = this.#partsOf(stage.stage).field.limit(own);
    return limit === null ? null : limit / 1000;
  }

  /** @param {string} stage */
  #partsOf(stage) {
    let parts = this.parts.get(stage);
    if (!parts) {
      const { t } = this.context;
      const mark = html("span", { class: "mark-over", hidden: true });
      const bar = html("div", { class: "bar" });
      const text = html("span");
      const share = html("span", { class: "share" }, html("span", { class: "track", "aria-hidden": "true" }, bar), text);
      const label = t("stages.try", { stage });
      const field = new LimitField({ kind: "stage", name: stage, label, unit: "ms", changed: () => this.draw() });
      const trend = new Sparkline(120, 24);
      parts = { name: html("span", { class: "name" }, foreign(stage), " ", mark), field, share, bar, text, trend, mark };
      this.parts.set(stage, parts);
    }
    return parts;
  }
}

/** @typedef {{name: HTMLElement, field: LimitField, trend: Sparkline, mark: HTMLElement}} OperationParts */

export class Operations {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    const heads = ["operation", "rate", "target", "batch_size", "workers", "items", "trend"].map((key) => t(`operations.${key}`));
    this.table = new Table(t("operations.title"), heads);
    this.element = section("operations", t("operations.title"), this.table.element);
    /** @type {Map<string, OperationParts>} */
    this.parts = new Map();
    /** @type {Operation[]} */
    this.operations = [];
  }

  /** @param {Operation[]} operations */
  show(operations) {
    this.operations = operations;
    this.element.hidden = !operations.length;
    for (const each of operations) this.#partsOf(each.operation).trend.draw(each.history);
    this.draw();
  }

  /** Mark what is busy and under its target, by the targets that are tried. */
  draw() {
    this.table.show(this.operations.map((each) => this.#row(each)));
  }

  /** @param {Operation} each */
  #row(each) {
    const { t, format } = this.context;
    const { name, field, trend, mark } = this.#partsOf(each.operation);
    const target = field.limit(each.target);
    const isUnder = each.is_busy && isNumber(each.items_per_second) && target !== null && each.items_per_second < target;
    setText(mark, isUnder ? t("operations.is_under") : "");
    mark.hidden = !isUnder;
    const figures = [format.count(each.batch_size), format.count(each.workers), format.count(each.items)];
    const rate = t("operations.per_second", { n: format.number(each.items_per_second) });
    return { key: each.operation, className: isUnder ? "over" : "", cells: [name, rate, field.element, ...figures, trend.element] };
  }

  /** @param {string} operation */
  #partsOf(operation) {
    let parts = this.parts.get(operation);
    if (!parts) {
      const { t } = this.context;
      const mark = html("span", { class: "mark-over", hidden: true });
      const options = { kind: /** @type {const} */ ("target"), name: operation, unit: t("operations.unit"), changed: () => this.draw() };
      const field = new LimitField({ ...options, label: t("operations.try", { operation }) });
      parts = { name: html("span", { class: "name" }, foreign(operation), " ", mark), field, trend: new Sparkline(120, 24), mark };
      this.parts.set(operation, parts);
    }
    return parts;
  }
}
