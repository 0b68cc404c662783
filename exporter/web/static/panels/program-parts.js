/** Caches, the event bus, circuit breakers, retries and computation of a program. */

import { foreign, html } from "../core/dom.js";
import { isNumber } from "../core/format.js";
import { Table } from "../parts/table.js";
import { section } from "./program-stages.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").ProgramDetail} ProgramDetail */
/** @typedef {import("../parts/table.js").TableRow} TableRow */

/** From which share of its capacity on a queue is nearly full. */
const NEARLY_FULL = 0.8;
/** Why a handler loses events. */
const REASONS = ["full", "stopped", "unfinished"];

/** A table of one kind of part. */
class PartTable {
  /**
   * @param {string} name
   * @param {string} title
   * @param {string[]} heads
   */
  constructor(name, title, heads) {
    this.table = new Table(title, heads);
    this.element = section(name, title, this.table.element);
  }

  /** @param {TableRow[]} rows */
  show(rows) {
    this.element.hidden = !rows.length;
    this.table.show(rows);
  }
}

export class ProgramParts {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    const heads = {
      caches: ["cache", "hit_rate", "tiers", "entries", "load"].map((key) => t(`caches.${key}`)),
      handlers: ["handler", "bus", "queue", "handled", "failed", "timed_out", "dropped", "retried", "p95"].map((key) => t(`handlers.${key}`)),
      breakers: ["breaker", "state", "opened"].map((key) => t(`breakers.${key}`)),
      retries: ["operation", "retried", "succeeded", "gave_up"].map((key) => t(`retries.${key}`)),
      compute: ["operation", "engine", "items", "p95"].map((key) => t(`compute.${key}`)),
    };
    this.caches = new PartTable("caches", t("caches.title"), heads.caches);
    this.handlers = new PartTable("handlers", t("handlers.title"), heads.handlers);
    this.breakers = new PartTable("breakers", t("breakers.title"), heads.breakers);
    this.retries = new PartTable("retries", t("retries.title"), heads.retries);
    this.compute = new PartTable("compute", t("compute.title"), heads.compute);
    this.large = [this.caches.element, this.handlers.element];
    this.small = [this.breakers.element, this.retries.element, this.compute.element];
  }

  /** @param {ProgramDetail} detail */
  show(detail) {
    const { format } = this.context;
    this.caches.show(detail.caches.map((cache) => this.#cache(cache)));
    this.handlers.show(detail.handlers.map((handler) => this.#handler(handler)));
    this.breakers.show(detail.breakers.map((breaker) => this.#breaker(breaker)));
    this.retries.show(
      detail.retries.map((retry) => ({
        key: retry.operation,
        cells: [foreign(retry.operation), ...[retry.retried, retry.succeeded, retry.gave_up].map((n) => format.count(n ?? 0))],
      })),
    );
    this.compute.show(
      detail.compute.map(({ operation, engine, items, p95_seconds: p95 }) => ({
        key: `${operation}\n${engine}`,
        cells: [foreign(operation), foreign(engine), format.count(items), format.duration(p95)],
      })),
    );
  }

  /** @param {import("../core/types.js").Cache} cache */
  #cache({ cache, hit_rate: hitRate, tiers, entries, capacity, load_p95_seconds: load }) {
    const { t, format } = this.context;
    const lines = tiers.map((tier) => {
      const counts = { hits: format.count(tier.hit), negative: format.count(tier.negative), misses: format.count(tier.miss), errors: format.count(tier.error) };
      const share = tier.hit_rate === null ? "" : format.percent(tier.hit_rate);
      return html("li", { "data-tier": tier.tier }, html("b", {}, t(`tier.${tier.tier}`)), " ", html("span", { class: "rate" }, share), " ", html("small", {}, t("caches.counts", counts)));
    });
    const room = isNumber(capacity) ? t("caches.of", { now: format.count(entries), limit: format.count(capacity) }) : format.count(entries);
    return { key: cache, cells: [foreign(cache), format.percent(hitRate), html("ul", { class: "tiers" }, ...lines), room, format.duration(load)] };
  }

  /** @param {import("../core/types.js").Handler} handler */
  #handler(handler) {
    const { t, format } = this.context;
    const { bus, queue_length: length, queue_capacity: capacity, dropped_by_reason: byReason } = handler;
    const isFull = isNumber(length) && !!capacity && length / capacity >= NEARLY_FULL;
    const queue = isNumber(capacity) ? t("caches.of", { now: format.count(length), limit: format.count(capacity) }) : format.count(length);
    const reasons = REASONS.filter((reason) => (byReason[reason] ?? 0) > 0);
    const texts = reasons.map((reason) => t(`handlers.${reason}`, { n: format.count(byReason[reason]) }));
    const dropped = html("span", {}, format.count(handler.dropped), " ", html("small", {}, texts.join(", ")));
    const [handled, failed, late, retried] = [handler.handled, handler.failed, handler.timed_out, handler.retried].map((n) => format.count(n));
    return {
      key: `${bus}\n${handler.handler}`,
      className: isFull || handler.is_dropping ? "over" : "",
      cells: [foreign(handler.handler), foreign(bus), queue, handled, failed, late, dropped, retried, format.duration(handler.p95_seconds)],
    };
  }

  /** @param {import("../core/types.js").Breaker} breaker */
  #breaker({ breaker, state, opened }) {
    const { t, format } = this.context;
    const className = state === "open" ? "over" : "";
    return { key: breaker, className, cells: [foreign(breaker), t(`breaker.${state}`), format.count(opened ?? 0)] };
  }
}
