/** The overview: how the sidecar and all its feeds are. */

import { html } from "../core/dom.js";
import { FeedsTable } from "../panels/feeds.js";
import { Headline } from "../panels/headline.js";
import { Ingestion } from "../panels/ingestion.js";
import { Partitions } from "../panels/partitions.js";
import { Problems } from "../panels/problems.js";
import { PublishedEvents } from "../panels/published.js";
import { Tiles } from "../panels/tiles.js";

/** @typedef {import("./index.js").Context} Context */

export const route = "/";

/** @param {Context} context */
export function title({ t }) {
  return t("overview.title");
}

/**
 * @param {Context} context
 * @param {HTMLElement} root
 * @returns {import("./index.js").Mounted}
 */
export function mount(context, root) {
  const headline = new Headline(context, (state) => feeds.toggleState(state));
  const tiles = new Tiles(context);
  const feeds = new FeedsTable(context, (states) => headline.choose(states));
  const ingestion = new Ingestion(context);
  const partitions = new Partitions(context);
  const rejections = new Problems(context, "rejections");
  const anomalies = new Problems(context, "anomalies");
  const published = new PublishedEvents(context);
  const beside = html("div", { class: "beside" }, partitions.element, rejections.element, anomalies.element);
  root.append(headline.element, tiles.element, feeds.element, ingestion.element, beside, published.element);
  return {
    update(changes) {
      const { sections } = context.state;
      headline.update();
      tiles.update();
      feeds.update(changes);
      ingestion.update();
      partitions.update();
      rejections.show(sections.rejections ?? [], sections.totals?.rejected);
      anomalies.show(sections.anomalies ?? [], sections.totals?.anomalies);
      published.watch();
    },
    drawHistory() {
      tiles.drawHistory();
      feeds.drawHistory();
    },
    published: (message) => published.add(message),
    readAddress: () => feeds.readAddress(),
    place: () => ({ page: scrollY, table: feeds.grid.element.scrollTop }),
    restore(/** @type {{page: number, table: number}} */ { page, table }) {
      scrollTo(0, page);
      feeds.grid.element.scrollTop = table;
    },
    escape: () => feeds.reset(),
    close() {
      feeds.close();
      published.close();
    },
  };
}
