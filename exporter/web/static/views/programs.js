/** All programs that push to this sidecar, or the one that serves the page. */

import { linkTo, parameter, setParameters } from "../core/address.js";
import { foreign, holdsFocus, html, setText } from "../core/dom.js";
import { isNumber } from "../core/format.js";
import { agesOf, hasFailed, nameOf } from "../panels/program-head.js";

/** @typedef {import("./index.js").Context} Context */
/** @typedef {import("../core/types.js").Program} Program */
/** @typedef {{program: Program, element: HTMLElement, marks: HTMLElement, facts: HTMLElement, ages: HTMLElement}} Card */

export const route = "/programs";
/** Programs that are shown at once; the search finds the others. */
const SHOWN_MAX = 200;

/** @param {Context} context */
export function title({ t }) {
  return t("view.programs");
}

/**
 * @param {Context} context
 * @param {HTMLElement} root
 * @returns {import("./index.js").Mounted}
 */
export function mount(context, root) {
  return new ProgramsView(context, root);
}

/**
 * Return how pushes are switched on.
 * @param {Context} context
 */
export function explain({ t }) {
  return [html("span", {}, t("programs.off")), html("code", { class: "example" }, "web: {push: {enabled: true}}")];
}

class ProgramsView {
  /**
   * @param {Context} context
   * @param {HTMLElement} root
   */
  constructor(context, root) {
    this.context = context;
    const { t } = context;
    this.count = html("span", { class: "count" });
    this.search = html("input", { type: "search", placeholder: t("programs.search"), "aria-label": t("programs.search") });
    this.search.value = parameter("q") ?? "";
    this.search.addEventListener("input", () => {
      setParameters({ q: this.search.value }, "replace");
      this.#draw();
    });
    this.list = html("ul", { class: "program-cards" });
    this.note = html("p", { class: "empty card" }, t("feeds.loading"));
    const head = html("div", { class: "tools card" }, html("h1", {}, t("view.programs")), this.count, this.search);
    root.append(head, this.note, this.list);
    /** @type {Map<string, Card>} */
    this.cards = new Map();
  }

  close() {}

  /** @param {import("../core/types.js").Changes} changes */
  update(changes) {
    if (changes.all || changes.programs.size) this.#draw();
    for (const { program, ages } of this.cards.values()) setText(ages, agesOf(this.context, program));
  }

  readAddress() {
    this.search.value = parameter("q") ?? "";
    this.#draw();
  }

  #draw() {
    const { state, format } = this.context;
    const all = [...state.programs.values()];
    const words = this.search.value.toLowerCase().split(/\s+/);
    const found = all.filter((program) => words.every((word) => textOf(program).includes(word)));
    const shown = found.sort(byNeed).slice(0, SHOWN_MAX);
    setText(this.count, shown.length === all.length ? format.count(all.length) : this.context.t("feeds.count", { n: format.count(shown.length), all: format.count(all.length) }));
    this.#note(all.length, found.length);
    const known = this.cards;
    this.cards = new Map(shown.map((program) => [program.id, this.#known(known.get(program.id), program)]));
    const elements = [...this.cards.values()].map((card) => card.element);
    const isSame = elements.length === this.list.children.length && elements.every((each, at) => each === this.list.children[at]);
    // An element that is moved loses the focus; the order waits until the reader is elsewhere.
    if (!isSame && (!holdsFocus(this.list) || elements.length !== this.list.children.length)) this.list.replaceChildren(...elements);
  }

  /**
   * @param {number} all
   * @param {number} found
   */
  #note(all, found) {
    const { t, state } = this.context;
    this.note.hidden = found > 0;
    const isOff = state.sections.sidecar?.takes_pushes === false;
    const example = `curl --data-binary @FILE ${location.origin}${state.sections.sidecar?.telemetry_path ?? "/metrics"}/job/NAME`;
    const none = all ? [t("programs.none_found")] : [html("span", {}, t("programs.none")), html("code", { class: "example" }, example)];
    this.note.replaceChildren(...(isOff ? explain(this.context) : none));
  }

  /**
   * Return the card of a program, brought up to date; the link in it stays.
   * @param {Card | undefined} known
   * @param {Program} program
   */
  #known(known, program) {
    const card = known ?? this.#card(program);
    if (known?.program !== program) {
      card.marks.replaceChildren(...this.#marks(program));
      card.facts.replaceChildren(...this.#facts(program));
    }
    return { ...card, program };
  }

  /**
   * @param {Program} program
   * @returns {Card}
   */
  #card(program) {
    const link = html("a", { href: linkTo(`/programs/${program.id}`), "data-view": true }, foreign(nameOf(this.context, program.name)));
    const pairs = Object.entries(program.labels).filter(([label]) => label !== "job");
    const labels = pairs.length ? html("p", { class: "labels" }, foreign(pairs.map(([label, value]) => `${label}="${value}"`).join(", "))) : null;
    const marks = html("ul", { class: "marks-list" });
    const facts = html("dl", { class: "facts" });
    const ages = html("p", { class: "ages" });
    return { program, marks, facts, ages, element: html("li", { class: "card pad" }, html("h2", {}, link), labels, marks, facts, ages) };
  }

  /** @param {Program} program */
  #marks(program) {
    const { t, format } = this.context;
    const texts = [
      program.bottleneck !== null && t("programs.bottleneck", { stage: program.bottleneck }),
      program.bottleneck === null && program.over > 0 && t("programs.over", { n: format.count(program.over) }),
      program.under > 0 && t("programs.under", { n: format.count(program.under) }),
      program.breakers_open > 0 && t("programs.open", { n: format.count(program.breakers_open) }),
      program.alerts > 0 && t("programs.alerts", { n: format.count(program.alerts) }),
      hasFailed(program) && t("programs.failed"),
    ];
    const marks = texts.filter((text) => typeof text === "string").map((text) => html("li", { class: "mark-over" }, foreign(text)));
    return marks.length ? marks : [html("li", { class: "mark-fine" }, t("programs.fine"))];
  }

  /** @param {Program} program */
  #facts(program) {
    const { t, format } = this.context;
    const memory = program.memory_limit_bytes && isNumber(program.memory_bytes)
      ? t("caches.of", { now: format.bytes(program.memory_bytes), limit: format.bytes(program.memory_limit_bytes) })
      : format.bytes(program.memory_bytes);
    const facts = /** @type {const} */ ([
      ["latency", program.latency_seconds === null ? "" : format.duration(program.latency_seconds)],
      ["cpu", program.cpu_ratio === null ? "" : format.percent(program.cpu_ratio)],
      ["memory", program.memory_bytes === null ? "" : memory],
      ["series", format.count(program.series)],
    ]);
    const known = facts.filter(([, value]) => value);
    return known.map(([key, value]) => html("div", {}, html("dt", {}, t(`fact.${key}`)), html("dd", { "data-figure": key }, value)));
  }
}

/** @param {Program} program */
function textOf({ name, labels }) {
  return [name, ...Object.values(labels)].join(" ").toLowerCase();
}

/**
 * What needs attention comes first, then by name.
 * @param {Program} one
 * @param {Program} other
 */
function byNeed(one, other) {
  return needOf(other) - needOf(one) || one.id.localeCompare(other.id);
}

/** @param {Program} program */
function needOf({ bottleneck, over, under, alerts, breakers_open: open }) {
  return bottleneck !== null || over || under || alerts || open ? 1 : 0;
}
