/** The sidecar in figures: throughput, latency by hop, lag, where the time goes, and the backlog against its limits. */

import { foreign, html, setAttribute, setText } from "../core/dom.js";
import { ABSENT, isNumber } from "../core/format.js";
import { Meter, Parts } from "../parts/meters.js";
import { Sparkline } from "../parts/sparkline.js";

/** @typedef {import("../views/index.js").Context} Context */

export const STAGES = ["poll", "decode", "analyze", "publish"];
export const HOPS = ["exchange_to_collector", "collector_to_broker", "broker_to_sidecar"];

/** A card with a name, a large figure, a smaller one and a line of the last minutes. */
class Tile {
  /**
   * @param {string} name
   * @param {string} trend - what the line shows; empty for no line
   * @param {string} [wide]
   */
  constructor(name, trend, wide = "") {
    this.figure = html("span", { class: "large" });
    this.more = html("span", { class: "more" });
    this.line = trend ? new Sparkline(200, 36, trend) : null;
    const figures = html("p", { class: "figures" }, this.figure, " ", this.more);
    this.element = html("section", { class: `tile card ${wide}`, "aria-label": name }, html("h2", {}, name), figures);
    if (this.line) this.element.append(this.line.element);
  }

  /**
   * @param {string} figure
   * @param {string} more
   */
  set(figure, more) {
    setText(this.figure, figure);
    setText(this.more, more);
  }
}

export class Tiles {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.rate = new Tile(t("tile.rate"), t("tile.rate_trend"));
    this.latency = new Tile(t("tile.latency"), t("tile.latency_trend"));
    this.lag = new Tile(t("tile.lag"), t("tile.lag_trend"));
    this.loop = new Tile(t("tile.loop"), "");
    this.backlog = new Tile(t("tile.backlog"), "");
    this.hops = html("dl", { class: "hops" });
    this.latency.element.append(this.hops);
    this.parts = new Parts();
    this.loop.element.append(this.parts.element);
    this.meters = ["events", "bytes", "age"].map((name) => new Meter(t(`backlog.${name}`)));
    this.error = html("p", { class: "error" });
    this.backlog.element.append(...this.meters.map((meter) => meter.element), this.error);
    const tiles = [this.rate, this.latency, this.lag, this.loop, this.backlog];
    this.element = html("div", { class: "tiles" }, ...tiles.map((tile) => tile.element));
  }

  update() {
    const { totals, lag } = this.context.state.sections;
    if (!totals || !lag) return;
    const { t, format } = this.context;
    this.rate.set(format.number(totals.batches_per_second), t("tile.messages", { n: format.number(totals.messages_per_second) }));
    this.lag.set(format.count(lag.records), this.#lagText(lag));
    this.#showLatency();
    this.#showLoop();
    this.#showBacklog();
  }

  drawHistory() {
    const totals = this.context.history.data?.totals;
    if (!totals) return;
    this.rate.line?.draw(totals.batches_per_second ?? []);
    this.latency.line?.draw(totals.latency_p99_ms ?? []);
    this.lag.line?.draw(totals.lag_records ?? []);
  }

  /** @param {import("../core/types.js").Sections["lag"]} lag */
  #lagText({ partitions, unknown }) {
    const { t, format } = this.context;
    const text = t("tile.partitions", { n: format.count(partitions) });
    return unknown ? `${text} · ${t("tile.unknown_ends", { n: format.count(unknown) })}` : text;
  }

  #showLatency() {
    const { t, format, state } = this.context;
    const latencies = state.sections.latencies ?? {};
    const quantiles = (/** @type {string} */ hop) => {
      const { p50_ms: half, p99_ms: most } = latencies[hop] ?? {};
      return [half, most].map((ms) => format.duration(isNumber(ms) ? ms / 1000 : null));
    };
    const [half, most] = quantiles("end_to_end");
    this.latency.set(half, t("tile.p99", { value: most }));
    if (!this.hops.firstChild) this.hops.replaceChildren(...HOPS.map((hop) => html("div", {}, html("dt", {}, t(`hop.${hop}`)), html("dd", {}))));
    HOPS.forEach((hop, at) => {
      const text = quantiles(hop).join(" · ");
      setText(/** @type {Element} */ (this.hops.children[at].lastElementChild), text);
    });
  }

  #showLoop() {
    const { t, format, state } = this.context;
    const loop = state.sections.loop ?? {};
    const known = STAGES.every((stage) => isNumber(loop[stage]));
    const busy = known ? STAGES.slice(1).reduce((sum, stage) => sum + (loop[stage] ?? 0), 0) : null;
    this.loop.set(format.percent(busy), t("tile.cores", { share: format.percent(loop.cpu_cores) }));
    const rest = known ? Math.max(0, 1 - (busy ?? 0) - (loop.poll ?? 0)) : null;
    const shares = [...STAGES.slice(1).map((stage) => [stage, loop[stage]]), ["rest", rest], ["poll", loop.poll]];
    this.parts.set(
      shares.map(([stage, share]) => ({
        key: String(stage),
        name: t(`stage.${stage}`),
        share: isNumber(share) ? share : 0,
        text: isNumber(share) ? format.percent(share) : ABSENT,
      })),
    );
  }

  #showBacklog() {
    const { t, format, state } = this.context;
    const { backlog } = state.sections;
    if (!backlog) return;
    const [events, bytes, age] = this.meters;
    const of = (/** @type {string} */ now, /** @type {string} */ limit) => t("backlog.of", { now, limit });
    this.backlog.set(format.percent(backlog.ratio), t("backlog.limit"));
    events.set(backlog.events / backlog.events_limit, of(format.count(backlog.events), format.count(backlog.events_limit)));
    bytes.set(backlog.bytes / backlog.bytes_limit, of(format.bytes(backlog.bytes), format.bytes(backlog.bytes_limit)));
    const limit = backlog.age_limit_seconds;
    age.set(backlog.age_seconds / limit, of(format.duration(backlog.age_seconds), format.duration(limit)));
    this.error.hidden = !backlog.error;
    if (this.error.textContent !== backlog.error) this.error.replaceChildren(foreign(backlog.error));
    setAttribute(this.backlog.element, "data-near", backlog.ratio >= 0.8);
  }
}
