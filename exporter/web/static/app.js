/** Starts the page: one connection, one state, and the view that the address names, in the language of the reader. */

import { parameter, setParameters } from "./core/address.js";
import { Format } from "./core/format.js";
import { History } from "./core/history.js";
import { chooseLanguage, loadTexts } from "./core/language.js";
import { State } from "./core/state.js";
import { Tab } from "./core/tab.js";
import { Shell } from "./panels/shell.js";
import { viewOf } from "./views/index.js";

/** @typedef {import("./views/index.js").Context} Context */
/** @typedef {import("./views/index.js").Mounted} Mounted */

class App {
  constructor() {
    this.state = new State();
    this.history = new History(() => this.mounted?.drawHistory?.());
    this.tab = new Tab({
      received: (message, isSnapshot) => this.#received(message, isSnapshot),
      published: (published) => this.mounted?.published?.(published),
      connected: (connection) => this.#connected(connection),
    });
    /** @type {import("./core/stream.js").Connection} */
    this.connection = { isLive: false, lastMs: 0, nextMs: 0 };
    /** @type {Context | null} */
    this.context = null;
    /** @type {Shell | null} */
    this.shell = null;
    /** @type {Mounted | null} */
    this.mounted = null;
    this.path = "";
  }

  async start() {
    document.addEventListener("click", (event) => this.#clicked(event));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.mounted?.escape?.());
    addEventListener("popstate", () => this.#moved());
    await this.#build();
    this.tab.open();
  }

  /** Build everything in the language of the address. */
  async #build() {
    const language = chooseLanguage(parameter("lang"), navigator.languages);
    const t = await loadTexts(language);
    document.documentElement.lang = language;
    const { state, history, tab } = this;
    this.context = { language, t, format: new Format(language, t), state, history, listen: (types) => tab.listen(types) };
    this.shell?.close();
    this.shell = new Shell(this.context, {
      chooseLanguage: (chosen) => this.#chooseLanguage(chosen),
      retry: () => tab.retry(),
    });
    document.body.replaceChildren(...this.shell.elements);
    this.#mount();
    this.#connected(this.connection);
  }

  #mount() {
    if (!this.context || !this.shell) return;
    this.mounted?.close();
    this.path = location.pathname;
    const { view, parameters } = viewOf(this.path);
    const root = this.shell.clear();
    this.shell.markView(this.path);
    this.mounted = view.mount(this.context, root, parameters);
    this.shell.title = view.title(this.context, parameters);
    if (this.state.figuresMs) this.#update({ all: true, feeds: new Set(), programs: new Set(), turned: [], sampled: false });
    this.mounted.drawHistory?.();
    if (history.state?.place !== undefined) this.mounted.restore?.(history.state.place);
  }

  /**
   * @param {import("./core/types.js").Message} message
   * @param {boolean} isSnapshot
   */
  #received(message, isSnapshot) {
    const changes = this.state.apply(message, isSnapshot);
    this.#update(changes);
    const { history_seconds: seconds = 0, history_step_seconds: step = 1, views = [] } = this.state.sections.sidecar ?? {};
    this.history.samples = Math.round(seconds / step);
    if (changes.sampled && seconds && views.includes("overview")) this.history.sampled(isSnapshot);
  }

  /** @param {import("./core/types.js").Changes} changes */
  #update(changes) {
    this.shell?.update(changes);
    this.mounted?.update?.(changes);
  }

  /** @param {import("./core/stream.js").Connection} connection */
  #connected(connection) {
    this.connection = connection;
    this.state.isLive = connection.isLive;
    this.shell?.showConnection(connection);
  }

  /** @param {string} language */
  async #chooseLanguage(language) {
    setParameters({ lang: language }, "push");
    await this.#build();
    this.shell?.focusLanguage();
  }

  /** The back or forward button was used. */
  async #moved() {
    const language = chooseLanguage(parameter("lang"), navigator.languages);
    if (language !== this.context?.language) await this.#build();
    else if (location.pathname === this.path) this.mounted?.readAddress?.();
    else {
      this.#mount();
      this.shell?.focusMain();
    }
  }

  /**
   * Follow a link to another view without loading the page again.
   * @param {MouseEvent} event
   */
  #clicked(event) {
    const link = event.target instanceof Element ? event.target.closest("a[data-view]") : null;
    if (!(link instanceof HTMLAnchorElement) || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { from } = history.state ?? {};
    if (from !== undefined && link.pathname + link.search === from) {
      history.back();
      return;
    }
    history.replaceState({ ...history.state, place: this.mounted?.place?.() }, "");
    // The view that is opened can link back to what was left, with its filter and order.
    history.pushState({ from: location.pathname + location.search }, "", link.href);
    this.#mount();
    this.shell?.focusMain();
  }
}

await new App().start();
