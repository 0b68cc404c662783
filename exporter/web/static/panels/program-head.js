/** Which program it is, when it has pushed, how long its figures stay, and what it raises itself. */

import { foreign, html, setText } from "../core/dom.js";
import { iso, isNumber } from "../core/format.js";
import { linkTo } from "../core/address.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").Program} Program */

const ALERTS = ["cpu", "memory", "latency", "throughput"];

/**
 * Return the name that is shown of a program, by its own label or as the one that serves the page.
 * @param {Context} context
 * @param {string} name
 */
export function nameOf({ t }, name) {
  return name || t("programs.this");
}

/**
 * Return how old the figures of a program are and how long they stay, as of now.
 * @param {Context} context
 * @param {Program} program
 */
export function agesOf({ t, format, state }, program) {
  const seconds = (/** @type {number} */ ms) => format.age(Math.max(0, ms) / 1000);
  const { pushed_ms: pushed, expires_ms: expires } = program;
  if (!isNumber(expires)) return "";
  const age = isNumber(pushed) ? t("programs.pushed", { age: seconds(state.now() - pushed) }) : t("programs.never");
  return `${age} · ${t("programs.expires", { left: seconds(expires - state.now()) })}`;
}

/**
 * Return whether the last push of a program has failed.
 * @param {Program} program
 */
export function hasFailed({ pushed_ms: pushed, failed_ms: failed }) {
  return isNumber(failed) && failed > (pushed ?? 0);
}

export class ProgramHead {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.back = html("a", { href: linkTo("/programs"), "data-view": true, class: "back" }, t("program.back"));
    this.name = html("h1");
    this.labels = html("p", { class: "from" });
    this.ages = html("p", { class: "since" });
    this.failed = html("p", { class: "failed", hidden: true });
    this.alerts = html("ul", { class: "reasons" });
    this.element = html("section", { class: "program-head feed-head card", "aria-label": t("program.title") }, this.back, this.name, this.labels, this.ages, this.failed, this.alerts);
    this.shown = "";
  }

  /** @param {Program} program */
  show(program) {
    const { t, format } = this.context;
    const labels = Object.entries(program.labels).map(([label, value]) => `${label}="${value}"`).join(", ");
    const shown = JSON.stringify([program.name, labels]);
    if (shown !== this.shown) {
      this.name.replaceChildren(foreign(nameOf(this.context, program.name)));
      this.labels.replaceChildren(foreign(labels));
      this.labels.hidden = !labels;
    }
    this.shown = shown;
    setText(this.ages, agesOf(this.context, program));
    this.ages.title = iso(program.pushed_ms);
    this.failed.hidden = !hasFailed(program);
    setText(this.failed, t("program.failed", { time: format.clock(program.failed_ms) }));
  }

  /** @param {import("../core/types.js").Alert[]} alerts */
  showAlerts(alerts) {
    const { t } = this.context;
    const items = alerts.map(({ alert, subject }) => {
      const word = ALERTS.includes(alert) ? t(`alert.${alert}`) : alert;
      return html("li", { class: "bad" }, html("b", {}, t("program.alert")), " ", foreign(subject ? `${word}: ${subject}` : word));
    });
    this.alerts.replaceChildren(...items);
    this.alerts.hidden = !items.length;
  }
}
