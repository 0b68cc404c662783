/** One program: its stages, throughput, caches, bus, processor, memory and metrics; its limits can be tried out. */

import { html } from "../core/dom.js";
import { getJson } from "../core/requests.js";
import { allTried, untry } from "../core/tried.js";
import { ProgramHead, nameOf } from "../panels/program-head.js";
import { ProgramParts } from "../panels/program-parts.js";
import { Process } from "../panels/program-process.js";
import { Operations, Stages } from "../panels/program-stages.js";
import { OtherFigures } from "../panels/thresholds.js";
import { explain } from "./programs.js";

/** @typedef {import("./index.js").Context} Context */
/** @typedef {import("../core/types.js").ProgramDetail} ProgramDetail */

export const route = "/programs/*id";

/**
 * @param {Context} context
 * @param {Record<string, string>} parameters
 */
export function title(context, { id }) {
  const name = decodeURIComponent(id.split("/")[0]).replace(/^~/, "");
  return nameOf(context, name);
}

/**
 * @param {Context} context
 * @param {HTMLElement} root
 * @param {Record<string, string>} parameters
 * @returns {import("./index.js").Mounted}
 */
export function mount(context, root, { id }) {
  return new ProgramView(context, root, id);
}

class ProgramView {
  /**
   * @param {Context} context
   * @param {HTMLElement} root
   * @param {string} id
   */
  constructor(context, root, id) {
    this.context = context;
    this.id = id;
    const { t } = context;
    this.head = new ProgramHead(context);
    this.stages = new Stages(context);
    this.operations = new Operations(context);
    this.process = new Process(context);
    this.parts = new ProgramParts(context);
    this.others = new OtherFigures(context);
    this.note = html("p", { class: "empty card" }, t("feeds.loading"));
    this.tried = html("p", { class: "tried-note card", hidden: true }, html("span", {}, t("tried.note")), this.#reset());
    this.content = html(
      "div",
      { class: "view program", hidden: true },
      this.tried,
      this.stages.element,
      this.operations.element,
      this.process.element,
      ...this.parts.large,
      html("div", { class: "small-parts" }, ...this.parts.small),
      this.others.element,
    );
    this.content.addEventListener("input", () => this.#noteTried());
    root.append(this.head.element, this.note, this.content);
    this.isClosed = false;
    this.wasShown = false;
  }

  close() {
    this.isClosed = true;
  }

  /** @param {import("../core/types.js").Changes} changes */
  update(changes) {
    const program = this.context.state.programs.get(this.id);
    if (program) this.head.show(program);
    if (changes.all || changes.sampled || changes.programs.has(this.id)) void this.#refresh();
  }

  /** What is tried is another one now. */
  readAddress() {
    this.stages.draw();
    this.operations.draw();
    this.process.draw();
    this.#noteTried();
  }

  async #refresh() {
    const { data, status } = await getJson(`/api/v1/programs?${new URLSearchParams({ program: this.id })}`);
    if (this.isClosed) return;
    if (data) this.#show(data);
    else if (status === 404) this.#showUnknown();
  }

  #showUnknown() {
    const { state, t } = this.context;
    this.note.hidden = false;
    const isOff = state.sections.sidecar?.takes_pushes === false;
    this.note.replaceChildren(...(isOff ? explain(this.context) : [t("program.unknown")]));
  }

  /** @param {ProgramDetail} detail */
  #show(detail) {
    this.note.hidden = true;
    this.content.hidden = false;
    this.head.showAlerts(detail.alerts);
    this.stages.show(detail.stages);
    this.operations.show(detail.operations);
    this.process.show(detail);
    this.parts.show(detail);
    this.others.show(detail.metrics);
    this.others.element.open ||= !detail.stages.length && !detail.operations.length && this.process.element.hidden && !this.wasShown;
    this.wasShown = true;
    this.#noteTried();
  }

  #noteTried() {
    this.tried.hidden = !allTried().length;
  }

  #reset() {
    const button = html("button", { type: "button" }, this.context.t("tried.reset"));
    button.addEventListener("click", () => {
      untry();
      this.readAddress();
    });
    return button;
  }
}
