/** The connection of this tab: to the hub in the worker that all tabs share, or to one of its own where there is no such worker. */

import { Hub } from "./hub.js";

/** @typedef {{name: "join" | "retry" | "leave", events: string}} Order */
/** @typedef {import("./stream.js").Connection} Connection */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").Published} Published */
/**
 * @typedef {object} Listener
 * @property {(message: Message, isSnapshot: boolean) => void} received
 * @property {(published: Published) => void} published
 * @property {(connection: Connection) => void} connected - also when nothing but the time of the next attempt has changed
 */

/** A worker that runs has said something by then, be it that the sidecar does not answer. */
const WORKER_MS = 8_000;

export class Tab {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    this.events = "";
    this.isOpen = false;
    this.isAlone = false;
    this.port = this.#port();
    addEventListener("pagehide", () => this.#order("leave"));
    addEventListener("pageshow", (event) => event.persisted && this.open());
    addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retry());
  }

  /** Open the stream; the whole state comes first. */
  open() {
    this.isOpen = true;
    this.#order("join");
  }

  /** Try at once, if an attempt is due later. */
  retry() {
    this.#order("retry");
  }

  /**
   * Choose which published events are sent as well.
   * @param {string} events - types with commas between them; empty for none
   */
  listen(events) {
    this.events = events;
    if (this.isOpen) this.#order("join");
  }

  #port() {
    if (!("SharedWorker" in globalThis)) return this.#own();
    const worker = new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module" });
    // A worker that cannot run does not always say so.
    const late = setTimeout(() => this.#giveUp(), WORKER_MS);
    worker.addEventListener("error", () => this.#giveUp());
    worker.port.addEventListener("message", () => clearTimeout(late), { once: true });
    return this.#started(worker.port);
  }

  #giveUp() {
    if (this.isAlone) return;
    this.#order("leave");
    this.port = this.#own();
    if (this.isOpen) this.#order("join");
  }

  #own() {
    this.isAlone = true;
    const { port1, port2 } = new MessageChannel();
    new Hub().add(port1);
    return this.#started(port2);
  }

  /** @param {MessagePort} port */
  #started(port) {
    port.addEventListener("message", ({ data: { name, values } }) => this.#heard(name, values));
    port.start();
    return port;
  }

  /**
   * @param {string} name
   * @param {any[]} values
   */
  #heard(name, values) {
    if (name === "received") this.listener.received(JSON.parse(values[0]), values[1]);
    else if (name === "published") this.listener.published(values[0]);
    else this.listener.connected(values[0]);
  }

  /** @param {Order["name"]} name */
  #order(name) {
    this.port.postMessage({ name, events: this.events });
  }
}
