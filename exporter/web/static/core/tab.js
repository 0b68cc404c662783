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

export class Tab {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    this.events = "";
    this.isOpen = false;
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
    worker.addEventListener("error", () => {
      this.port = this.#own();
      if (this.isOpen) this.#order("join");
    });
    return this.#started(worker.port);
  }

  #own() {
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
