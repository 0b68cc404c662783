/** One stream for all tabs of a browser, which opens only six connections to a host: with a stream each, the seventh tab would wait for ever. */

import { Stream } from "./stream.js";

/** @typedef {import("./tab.js").Order} Order */

export class Hub {
  constructor() {
    /** @type {Map<MessagePort, string>} */
    this.tabs = new Map();
    this.stream = new Stream({
      received: (...values) => this.#tell("received", values),
      published: (published) => this.#tell("published", [published], (events) => events.split(",").includes(published.type)),
      connected: (connection) => this.#tell("connected", [connection]),
    });
  }

  /**
   * Take orders from the tab at the other end.
   * @param {MessagePort} port
   */
  add(port) {
    port.addEventListener("message", (event) => this.#obey(port, event.data));
    // Sent by browsers that know it, for a tab that crashed as well.
    port.addEventListener("close", () => this.#leave(port));
    port.start();
  }

  /**
   * @param {MessagePort} port
   * @param {Order} order
   */
  #obey(port, { name, events }) {
    if (name === "retry") this.stream.retry();
    else if (name === "leave") this.#leave(port);
    else {
      const isNew = !this.tabs.has(port);
      this.tabs.set(port, events);
      if (!this.#listen() && isNew) this.stream.open();
    }
  }

  /** @param {MessagePort} port */
  #leave(port) {
    this.tabs.delete(port);
    if (this.tabs.size) this.#listen();
    else this.stream.close();
  }

  /** Ask for the events that any tab wants, and return whether the stream was opened for it. */
  #listen() {
    const wanted = [...this.tabs.values()].flatMap((events) => events.split(",")).filter(Boolean);
    return this.stream.listen([...new Set(wanted)].sort().join());
  }

  /**
   * @param {string} name
   * @param {unknown[]} values
   * @param {(events: string) => boolean} [wanted]
   */
  #tell(name, values, wanted = () => true) {
    for (const [port, events] of this.tabs) if (wanted(events)) port.postMessage({ name, values });
  }
}
