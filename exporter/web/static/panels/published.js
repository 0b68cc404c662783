/** The events as they are published: filtered by type and text, and paused while they are read. */

import { foreign, holdsFocus, html, setText } from "../core/dom.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Published} Message */
/** @typedef {import("../core/types.js").PublishedEvent} PublishedEvent */
/** @typedef {{type: string, event: PublishedEvent, text: string}} Shown */

export const TYPES = ["batch_collected", "performance_summary", "error"];
const KEPT = 500;
const SHOWN = 100;

export class PublishedEvents {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    /** @type {Shown[]} */
    this.events = [];
    this.missed = 0;
    this.text = "";
    this.isPaused = false;
    this.types = new Set(TYPES);
    this.count = html("span", { class: "count" });
    this.list = html("ol");
    this.empty = html("p", { class: "empty" }, t("events.none"));
    this.scroller = html("div", { class: "list", tabindex: 0, role: "group", "aria-label": t("events.title") }, this.list, this.empty);
    this.element = html("section", { class: "published card", "aria-label": t("events.title") }, this.#tools(), this.scroller);
    this.watching = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.#begin());
    this.isListening = false;
  }

  close() {
    this.watching.disconnect();
    this.context.listen("");
  }

  /** Begin to look whether the list is in sight: what is above it has its height now. */
  watch() {
    if (!this.isListening) this.watching.observe(this.element);
  }

  /** @param {Message} message */
  add({ type, missed, events }) {
    this.missed += missed;
    if (!this.types.has(type)) return;
    const shown = events.map((event) => ({ type, event, text: JSON.stringify(event.value) }));
    this.events = [...shown.reverse(), ...this.events].slice(0, KEPT);
    if (!this.isPaused && !holdsFocus(this.list)) this.#draw();
  }

  #tools() {
    const { t } = this.context;
    const search = html("input", { type: "search", placeholder: t("events.filter"), "aria-label": t("events.filter"), spellcheck: "false", autocomplete: "off" });
    search.addEventListener("input", () => {
      this.text = search.value.toLowerCase();
      this.#draw();
    });
    const pause = html("button", { type: "button", class: "pause", "aria-pressed": "false" }, t("events.pause"));
    pause.addEventListener("click", () => {
      this.isPaused = !this.isPaused;
      pause.setAttribute("aria-pressed", String(this.isPaused));
      this.#draw();
    });
    const types = html("div", { class: "types", role: "group", "aria-label": t("events.types") }, ...TYPES.map((type) => this.#type(type)));
    return html("div", { class: "tools" }, html("h2", {}, t("events.title")), this.count, search, types, pause);
  }

  /** @param {string} type */
  #type(type) {
    const box = html("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) this.types.add(type);
      else this.types.delete(type);
      this.events = this.events.filter((each) => this.types.has(each.type));
      this.#listen();
      this.#draw();
    });
    return html("label", {}, box, this.context.t(`event.${type}`));
  }

  /** Events cost the sidecar something, so they are asked for when this list is seen for the first time. */
  #begin() {
    this.watching.disconnect();
    this.isListening = true;
    this.#listen();
  }

  #listen() {
    if (this.isListening) this.context.listen(TYPES.filter((type) => this.types.has(type)).join());
  }

  #draw() {
    const { t, format } = this.context;
    const found = this.events.filter((each) => !this.text || each.text.toLowerCase().includes(this.text));
    this.empty.hidden = found.length > 0;
    setText(this.count, this.missed ? t("events.missed", { n: format.count(this.missed) }) : "");
    const kept = new Map([...this.list.children].map((item) => [item.getAttribute("data-id"), item]));
    const items = found.slice(0, SHOWN).map((each) => kept.get(identity(each)) ?? this.#item(each));
    this.list.replaceChildren(...items);
  }

  /** @param {Shown} shown */
  #item(shown) {
    const { type, event, text } = shown;
    const time = html("time", { title: event.time }, event.time.slice(11, 23));
    const kind = html("span", { class: `type ${type}` }, this.context.t(`event.${type}`));
    const line = html("summary", {}, time, kind, html("code", {}, foreign(text)));
    const details = html("details", {}, line);
    details.addEventListener("toggle", () => this.#open(details, event), { once: true });
    return html("li", { "data-id": identity(shown) }, details);
  }

  /**
   * @param {HTMLDetailsElement} details
   * @param {PublishedEvent} event
   */
  #open(details, event) {
    details.append(html("pre", {}, foreign(`${event.topic} ${event.id}\n${JSON.stringify(event.value, null, 2)}`)));
  }
}

/** @param {Shown} shown */
function identity({ type, event }) {
  return `${type} ${event.id} ${event.time}`;
}
