/** The last 15 minutes of the sidecar and of the feeds that are shown, fetched when a sample was taken or a feed appears. */

import { getJson } from "./requests.js";

/** @typedef {import("./types.js").HistoryData} HistoryData */
/** @typedef {import("./types.js").FeedHistory} FeedHistory */

const FEEDS_MAX = 100;
const SETTLED_MS = 120;
const SPREAD_MS = 2_000;

export class History {
  /** @param {() => void} arrived - called when there is something new to draw */
  constructor(arrived) {
    this.arrived = arrived;
    /** @type {Map<string, FeedHistory>} */
    this.feeds = new Map();
    /** @type {HistoryData | null} */
    this.data = null;
    /** @type {Set<string>} */
    this.shown = new Set();
    /** @type {Set<string>} */
    this.missing = new Set();
    this.timer = 0;
    /** How many samples the sidecar keeps. */
    this.samples = 0;
    this.isStale = true;
  }

  /**
   * Say which feeds are in sight.
   * @param {Iterable<string>} names
   */
  show(names) {
    this.shown = new Set(names);
    if (!this.isStale && [...this.shown].every((name) => this.feeds.has(name) || this.missing.has(name))) return;
    this.#fetchIn(SETTLED_MS);
  }

  /**
   * Fetch all of it again: a sample was taken.
   * @param {boolean} atOnce - rather than spread over a time in which not all pages ask
   */
  sampled(atOnce) {
    this.isStale = true;
    this.missing.clear();
    this.#fetchIn(atOnce ? 0 : Math.random() * SPREAD_MS);
  }

  /** @param {number} ms */
  #fetchIn(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#fetch(), ms);
  }

  async #fetch() {
    const wanted = [...this.shown].filter((name) => this.isStale || !this.feeds.has(name)).slice(0, FEEDS_MAX);
    if (!wanted.length && !this.isStale) return;
    this.isStale = false;
    const query = new URLSearchParams(wanted.map((name) => ["feed", name]));
    const { data } = await getJson(`/api/v1/history?${query}`);
    // Before the first sample there are no series.
    if (!data?.times_ms.length) return;
    // Feeds that were not asked for now have figures of an earlier sample: they are fetched when they are seen again.
    if (!this.data || data.times_ms.at(-1) !== this.data.times_ms.at(-1)) this.feeds.clear();
    this.data = { ...data, totals: padded(data.totals, this.samples) };
    for (const name of wanted) this.missing.add(name);
    for (const [name, series] of Object.entries(/** @type {HistoryData} */ (data).feeds)) {
      this.feeds.set(name, padded(series, this.samples));
      this.missing.delete(name);
    }
    this.arrived();
  }
}

/**
 * Return series in which what is missing at their begin is unknown, so that all are as long and end now.
 * @template T
 * @param {T} series
 * @param {number} length
 * @returns {T}
 */
function padded(series, length) {
  const entries = Object.entries(/** @type {Record<string, unknown>} */ (series)).map(([name, values]) => {
    if (!Array.isArray(values)) return [name, values];
    return [name, [...Array(Math.max(0, length - values.length)).fill(null), ...values]];
  });
  return Object.fromEntries(entries);
}
