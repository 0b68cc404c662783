/** Processor and memory of a program against their limits, and its last minutes with those of its machine. */

import { html, setText } from "../core/dom.js";
import { isNumber } from "../core/format.js";
import { lineChart } from "../parts/charts.js";
import { largest } from "../parts/sparkline.js";
import { LimitField } from "./limit-field.js";
import { section } from "./program-stages.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").ProgramDetail} ProgramDetail */

/** The shares of processor and memory that alerts begin at, in percent. */
const NEAR_PERCENT = 80;
const CHARTS = ["cpu_ratio", "memory_bytes", "machine_cpu_ratio", "machine_memory_ratio", "disk_read", "disk_written", "network_received", "network_sent"];

export class Process {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    const changed = () => this.draw();
    this.fields = {
      cpu: new LimitField({ kind: "cpu", name: "", label: t("process.try_cpu"), unit: "%", changed }),
      memory: new LimitField({ kind: "memory", name: "", label: t("process.try_memory"), unit: "%", changed }),
    };
    this.facts = html("dl", { class: "facts process-facts" });
    this.charts = html("div", { class: "charts" });
    this.element = section("process", t("process.title"), this.facts, this.charts);
    this.cells = ["cpu", "memory", "growth", "left", "threads", "machine_cpu", "machine_memory"].map((key) => {
      const value = html("dd", { "data-figure": key });
      const field = key === "cpu" || key === "memory" ? this.fields[key].element : null;
      const limit = field && html("dd", { class: "tried" }, t("process.limit"), " ", field);
      return { key, value, group: html("div", { "data-of": key }, html("dt", {}, t(`process.${key}`)), value, limit) };
    });
    this.facts.append(...this.cells.map((cell) => cell.group));
    /** @type {ProgramDetail | null} */
    this.detail = null;
  }

  /** @param {ProgramDetail} detail */
  show(detail) {
    this.detail = detail;
    const values = Object.values(detail.process);
    this.element.hidden = !values.some(isNumber);
    this.draw();
  }

  /** Mark what is over its limit, by the limits that are tried. */
  draw() {
    if (!this.detail) return;
    const { t, format } = this.context;
    const { process } = this.detail;
    const memory = isNumber(process.memory_bytes) && process.memory_limit_bytes ? process.memory_bytes / process.memory_limit_bytes : null;
    const limits = { cpu: this.fields.cpu.limit(NEAR_PERCENT), memory: this.fields.memory.limit(NEAR_PERCENT) };
    const used = process.memory_limit_bytes
      ? t("process.of", { now: format.bytes(process.memory_bytes), limit: format.bytes(process.memory_limit_bytes), share: format.percent(memory) })
      : format.bytes(process.memory_bytes);
    const growth = process.memory_growth_bytes_per_second;
    /** @type {Record<string, string>} */
    const texts = {
      cpu: format.percent(process.cpu_ratio),
      memory: used,
      growth: isNumber(growth) ? t("process.per_second", { n: growth < 0 ? `−${format.bytes(-growth)}` : format.bytes(growth) }) : format.bytes(null),
      left: format.duration(process.seconds_to_limit),
      threads: format.count(process.threads),
      machine_cpu: format.percent(process.machine_cpu_ratio),
      machine_memory: format.percent(process.machine_memory_ratio),
    };
    /** @type {Record<string, number | null>} */
    const shares = { cpu: process.cpu_ratio, memory };
    for (const { key, value, group } of this.cells) {
      setText(value, texts[key]);
      const limit = key === "cpu" || key === "memory" ? limits[key] : null;
      group.className = limit !== null && (shares[key] ?? 0) * 100 > limit ? "over" : "";
    }
    this.#draw(limits);
  }

  /** @param {{cpu: number | null, memory: number | null}} limits - in percent */
  #draw(limits) {
    const { t } = this.context;
    const { history, process } = /** @type {ProgramDetail} */ (this.detail);
    const most = process.memory_limit_bytes;
    /** @type {Record<string, number | null>} */
    const lines = {
      cpu_ratio: limits.cpu === null ? null : limits.cpu / 100,
      memory_bytes: limits.memory === null || !most ? null : (most * limits.memory) / 100,
    };
    const figures = CHARTS.filter((name) => history[name]?.some(isNumber)).map((name) => {
      const values = history[name];
      const now = this.#figure(name, values[values.length - 1]);
      const top = t("program.highest", { value: this.#figure(name, largest(values)) });
      const caption = html("figcaption", {}, html("span", {}, `${t(`trend.${name}`)}: ${now}`), html("span", { class: "more" }, top));
      return html("figure", { "data-trend": name }, caption, lineChart({ label: t(`trend.${name}`), values, limit: lines[name] ?? null }));
    });
    this.charts.replaceChildren(...figures);
  }

  /**
   * @param {string} name
   * @param {number | null} value
   */
  #figure(name, value) {
    const { t, format } = this.context;
    if (name.endsWith("ratio")) return format.percent(value);
    return name === "memory_bytes" ? format.bytes(value) : t("process.per_second", { n: format.bytes(value) });
  }
}
