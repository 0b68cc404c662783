/** The connection to the sidecar: server-sent events, opened again with growing pauses until it answers. */

/** @typedef {import("./types.js").Published} Published */
/**
 * @typedef {object} Listener
 * @property {(message: string, isSnapshot: boolean) => void} received - a `Message` as it came, which the tab reads
 * @property {(published: Published) => void} published
 * @property {(connection: Connection) => void} connected - also when nothing but the time of the next attempt has changed
 */
/** @typedef {{isLive: boolean, lastMs: number, nextMs: number}} Connection - times by the clock of the browser, 0 for none */

const SILENCE_MS = 5_000;
const PAUSE_MS = { least: 1_000, most: 30_000 };
const CHECK_MS = 500;

export class Stream {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    this.events = "";
    this.lastId = "";
    this.lastMs = 0;
    this.openedMs = 0;
    this.dueMs = SILENCE_MS;
    this.failures = 0;
    this.nextMs = 0;
    this.isLive = false;
    /** @type {EventSource | null} */
    this.source = null;
    setInterval(() => this.#check(), CHECK_MS);
    addEventListener("online", () => this.retry());
  }

  /** Open the connection, in place of the one there is. */
  open() {
    this.close();
    this.openedMs = Date.now();
    const source = new EventSource(this.#address());
    this.source = source;
    source.addEventListener("snapshot", (event) => this.#message(event, true));
    source.addEventListener("update", (event) => this.#message(event, false));
    source.addEventListener("published", (event) => this.#published(event));
    source.addEventListener("error", () => source === this.source && this.#failed());
  }

  /** End the connection, and make no other. */
  close() {
    this.source?.close();
    this.source = null;
    this.nextMs = 0;
    this.isLive = false;
  }

  /** Try at once, if an attempt is due later. */
  retry() {
    if (this.nextMs) this.open();
  }

  /**
   * Choose which published events are sent as well, and return whether the connection was opened again for it.
   * @param {string} events - types with commas between them; empty for none
   */
  listen(events) {
    const opens = events !== this.events && this.source !== null && !this.nextMs;
    this.events = events;
    if (opens) this.open();
    return opens;
  }

  #address() {
    const parameters = new URLSearchParams();
    if (this.events) parameters.set("events", this.events);
    if (this.lastId) parameters.set("last_event_id", this.lastId);
    const query = parameters.toString();
    return `/api/v1/stream${query ? `?${query}` : ""}`;
  }

  /**
   * @param {MessageEvent<string>} event
   * @param {boolean} isSnapshot
   */
  #message(event, isSnapshot) {
    this.#heard(event);
    this.failures = 0;
    this.dueMs = Math.max(SILENCE_MS, 3_000 * JSON.parse(event.data).tick_seconds);
    const wasLive = this.isLive;
    this.isLive = true;
    this.listener.received(event.data, isSnapshot);
    if (!wasLive) this.#tell();
  }

  /** @param {MessageEvent<string>} event */
  #published(event) {
    this.#heard(event);
    this.listener.published(JSON.parse(event.data));
  }

  /** @param {MessageEvent<string>} event */
  #heard(event) {
    this.lastId = event.lastEventId;
    this.lastMs = Date.now();
  }

  /** A dead host closes no connection: what has been silent for too long is given up. */
  #check() {
    if (this.nextMs) {
      if (Date.now() >= this.nextMs) this.open();
    } else if (this.source && Date.now() - Math.max(this.lastMs, this.openedMs) > this.dueMs) {
      this.#failed();
    }
  }

  #failed() {
    this.source?.close();
    const pause = Math.min(PAUSE_MS.most, PAUSE_MS.least * 2 ** this.failures);
    this.failures += 1;
    // Pages that lost the same sidecar do not return to it at the same moment.
    this.nextMs = Date.now() + pause * (0.75 + Math.random() / 2);
    this.isLive = false;
    this.#tell();
  }

  #tell() {
    this.listener.connected({ isLive: this.isLive, lastMs: this.lastMs, nextMs: this.nextMs });
  }
}
