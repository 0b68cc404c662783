/** The assigned partitions with their lag, the largest first. */

import { foreign, html, setText } from "../core/dom.js";
import { ABSENT, iso } from "../core/format.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/types.js").PartitionRow} PartitionRow */

export class Partitions {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    const { t } = context;
    this.count = html("span", { class: "count" });
    this.rows = html("tbody");
    const heads = ["partition", "position", "lag", "last_record"].map((key) => html("th", { scope: "col" }, t(`partitions.${key}`)));
    const table = html("table", {}, html("thead", {}, html("tr", {}, ...heads)), this.rows);
    const scroller = html("div", { class: "list", tabindex: 0, role: "group", "aria-label": t("partitions.title") }, table);
    const head = html("div", { class: "tools" }, html("h2", {}, t("partitions.title")), this.count);
    this.element = html("section", { class: "partitions card", "aria-label": t("partitions.title") }, head, scroller);
    this.shown = "";
  }

  update() {
    const { lag } = this.context.state.sections;
    if (!lag) return;
    const { t, format } = this.context;
    const { rows, partitions } = lag;
    const isAll = rows.length === partitions;
    const values = { n: format.count(rows.length), all: format.count(partitions) };
    setText(this.count, isAll ? format.count(partitions) : t("partitions.some", values));
    this.#build(rows);
    const most = Math.max(1, ...rows.map((row) => row[4] ?? 0));
    rows.forEach((row, at) => this.#show(this.rows.rows[at], row, most));
  }

  /**
   * Make the rows there must be; those of the same partitions stay.
   * @param {PartitionRow[]} rows
   */
  #build(rows) {
    const shown = rows.map(([topic, partition]) => `${topic}/${partition}`);
    if (shown.join("\n") === this.shown) return;
    this.shown = shown.join("\n");
    this.rows.replaceChildren(
      ...shown.map((name) => {
        const bar = html("div", { class: "track", "aria-hidden": "true" }, html("div", { class: "bar" }));
        return html("tr", {}, html("th", { scope: "row" }, foreign(name)), html("td"), html("td", {}, html("span"), bar), html("td"));
      }),
    );
  }

  /**
   * @param {HTMLTableRowElement} row
   * @param {PartitionRow} values
   * @param {number} most - the largest lag of all
   */
  #show(row, [, , position, , lag, lastRecordMs], most) {
    const { format, state } = this.context;
    const [, positionCell, lagCell, timeCell] = row.cells;
    const [text, track] = lagCell.children;
    setText(positionCell, format.count(position));
    setText(text, format.count(lag));
    /** @type {HTMLElement} */ (track.firstElementChild).style.width = `${(((lag ?? 0) / most) * 100).toFixed(1)}%`;
    setText(timeCell, lastRecordMs ? format.age(Math.max(0, (state.now() - lastRecordMs) / 1000)) : ABSENT);
    timeCell.title = iso(lastRecordMs);
  }
}
