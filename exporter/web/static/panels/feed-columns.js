/** The columns of the table of feeds. */

import { linkTo } from "../core/address.js";
import { foreign, html, setAttribute, setText } from "../core/dom.js";
import { ABSENT, iso, isNumber } from "../core/format.js";
import { Sparkline } from "../parts/sparkline.js";
import { Badge, rank } from "../parts/states.js";

/** @typedef {import("../core/types.js").Feed} Feed */
/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../parts/grid.js").Column<Feed>} FeedColumn */

/** From which share of its limit on an age is shown as near it. */
const NEAR = 0.5;

/**
 * Return the columns, the first at the left.
 * @param {Context} context
 * @returns {FeedColumn[]}
 */
export function columnsOf(context) {
  const { format } = context;
  return [
    stateColumn(context),
    nameColumn(context),
    reasonColumn(context),
    figure(context, "rate", (feed) => feed.batches_per_second, (value) => format.number(value)),
    trendColumn(context),
    figure(context, "messages", (feed) => feed.messages_per_second, (value) => format.number(value)),
    figure(context, "size", (feed) => feed.batch_size, (value) => format.count(value)),
    figure(context, "unique", (feed) => feed.unique_symbols, (value) => format.count(value)),
    figure(context, "efficiency", (feed) => feed.efficiency, (value) => format.number(value)),
    symbolsColumn(context),
    figure(context, "latency", (feed) => feed.latency_ms, (value) => format.duration(isNumber(value) ? value / 1000 : null)),
    ageColumn(context),
  ];
}

/**
 * A column with one number.
 * @param {Context} context
 * @param {string} key
 * @param {(feed: Feed) => number | null} of
 * @param {(value: number | null) => string} text
 * @returns {FeedColumn}
 */
function figure({ t }, key, of, text) {
  const make = (/** @type {HTMLElement} */ cell) => (/** @type {Feed} */ feed) => setText(cell, text(of(feed)));
  return { key, title: t(`column.${key}`), descends: true, order: of, make };
}

/**
 * @param {Context} context
 * @returns {FeedColumn}
 */
function stateColumn({ t }) {
  return {
    key: "state",
    title: t("column.state"),
    order: (feed) => rank(feed.state ?? undefined),
    make(cell) {
      const badge = new Badge();
      cell.append(badge.element);
      return ({ state }) => badge.set(state ?? "elsewhere", t(`state.${state ?? "elsewhere"}`));
    },
  };
}

/**
 * @param {Context} context
 * @returns {FeedColumn}
 */
function nameColumn({ t }) {
  return {
    key: "name",
    title: t("column.name"),
    order: (feed) => feed.name,
    make(cell) {
      const name = foreign("");
      const link = html("a", { "data-view": true, tabindex: -1 }, name);
      cell.append(link);
      return (feed) => {
        if (name.textContent === feed.name && link.hasAttribute("href")) return;
        nameParts(name, feed.name);
        setAttribute(link, "href", feedLink(feed.name));
        setAttribute(link, "title", feed.name);
      };
    },
  };
}

/**
 * Show the exchange of a feed stronger than its region and type.
 * @param {Element} element
 * @param {string} name
 */
export function nameParts(element, name) {
  const [region, exchange, ...type] = name.split(":");
  element.replaceChildren(html("span", {}, `${region}:`), html("b", {}, exchange ?? ""), html("span", {}, `:${type.join(":")}`));
}

/** @param {string} name */
export function feedLink(name) {
  return linkTo(`/feeds/${encodeURIComponent(name).replaceAll("%3A", ":")}`);
}

/**
 * @param {Context} context
 * @returns {FeedColumn}
 */
function reasonColumn({ t }) {
  return {
    key: "reason",
    title: t("column.reason"),
    order: null,
    make(cell) {
      const text = foreign("");
      cell.append(text);
      return ({ reasons }) => {
        const joined = reasons.join("; ");
        setText(text, joined);
        setAttribute(cell, "title", joined || null);
        cell.parentElement?.classList.toggle("explained", joined !== "");
      };
    },
  };
}

/**
 * @param {Context} context
 * @returns {FeedColumn}
 */
function trendColumn({ t, history }) {
  return {
    key: "trend",
    title: t("column.trend"),
    order: null,
    make(cell) {
      const line = new Sparkline(110, 24);
      cell.append(line.element);
      /** @type {unknown} */
      let drawn = null;
      return ({ name }) => {
        const series = history.feeds.get(name)?.batches_per_second ?? [];
        if (series !== drawn) line.draw(series);
        drawn = series;
      };
    },
  };
}

/**
 * @param {Context} context
 * @returns {FeedColumn}
 */
function symbolsColumn({ t, format }) {
  return {
    key: "symbols",
    title: t("column.symbols"),
    descends: true,
    order: (feed) => feed.symbols_active ?? feed.symbols,
    make: (cell) => (feed) => {
      const active = feed.symbols_active ?? feed.symbols;
      setText(cell, feed.symbols_expected === null ? format.count(active) : `${format.count(active)} / ${format.count(feed.symbols_expected)}`);
    },
  };
}

/**
 * The time since the last batch, with a bar that fills towards the limit on silence.
 * @param {Context} context
 * @returns {FeedColumn}
 */
function ageColumn({ t, format, state }) {
  return {
    key: "age",
    title: t("column.age"),
    descends: true,
    order: (feed) => (feed.last_received_ms === null ? null : -feed.last_received_ms),
    make(cell) {
      const text = html("span");
      const bar = html("div", { class: "bar" });
      cell.append(text, html("div", { class: "track", "aria-hidden": "true" }, bar));
      return (feed) => {
        const age = ageOf(feed, state.now());
        const share = age === null || !feed.silent_limit_seconds ? 0 : Math.min(1, age / feed.silent_limit_seconds);
        setText(text, age === null ? ABSENT : format.age(age));
        bar.style.width = `${(share * 100).toFixed(1)}%`;
        setAttribute(cell, "class", `cell age ${share >= 1 ? "over" : share >= NEAR ? "near" : ""}`);
        setAttribute(cell, "title", iso(feed.last_received_ms) || null);
      };
    },
  };
}

/**
 * Return the seconds since the last batch of a feed; a moment ahead of the clock is now.
 * @param {Feed} feed
 * @param {number} nowMs
 */
export function ageOf(feed, nowMs) {
  return feed.last_received_ms === null ? null : Math.max(0, (nowMs - feed.last_received_ms) / 1000);
}
