/** What surrounds each view: the head with the connection, language and theme, the foot, and what is read aloud. */

import { foreign, html, setAttribute, setText, svg } from "../core/dom.js";
import { iso } from "../core/format.js";
import { LANGUAGES } from "../core/language.js";
import { linkTo } from "../core/address.js";

/** @typedef {import("../views/index.js").Context} Context */
/** @typedef {import("../core/stream.js").Connection} Connection */

const THEMES = ["system", "light", "dark"];
const ANNOUNCED_MAX = 3;
/** Where the views are that the head leads to. */
const PATHS = /** @type {Record<string, string>} */ ({ overview: "/", programs: "/programs", risk: "/risk" });

const ICONS = {
  system: "M2.5 3.5h11v7h-11zM6 13.5h4M8 10.5v3",
  light: "M8 5.2a2.8 2.8 0 1 1 0 5.6a2.8 2.8 0 0 1 0-5.6zM8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M12.6 3.4l-1.1 1.1M4.5 11.5l-1.1 1.1",
  dark: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z",
};

export class Shell {
  /**
   * @param {Context} context
   * @param {{chooseLanguage: (language: string) => void, retry: () => void}} actions
   */
  constructor(context, actions) {
    this.context = context;
    this.actions = actions;
    const { t } = context;
    this.name = html("span", { class: "instance" });
    this.connection = html("span", { class: "connection" });
    this.brand = html("a", { class: "brand", href: "/", "data-view": true });
    this.views = html("nav", { class: "views", "aria-label": t("shell.views") });
    this.path = "";
    this.main = html("main", { id: "main", tabindex: -1 });
    this.spoken = html("div", { class: "unseen", role: "status", "aria-live": "polite" });
    this.banner = html("section", { class: "banner", hidden: true, "aria-label": t("connection.lost") });
    this.foot = html("footer", {});
    this.elements = [
      html("a", { class: "skip", href: "#main" }, t("shell.skip")),
      this.#head(),
      this.banner,
      this.main,
      this.foot,
      this.spoken,
    ];
    this.timer = setInterval(() => this.#count(), 1_000);
    /** @type {Connection | null} */
    this.shown = null;
    this.isGone = false;
    this.viewTitle = "";
    this.next = html("span", { class: "next" });
  }

  close() {
    clearInterval(this.timer);
  }

  /** @param {string} title */
  set title(title) {
    this.viewTitle = title;
    this.#entitle();
  }

  /** Empty the place of the view, and return it. */
  clear() {
    this.main.replaceChildren();
    scrollTo(0, 0);
    return this.main;
  }

  focusMain() {
    this.main.focus({ preventScroll: true });
  }

  focusLanguage() {
    this.language?.focus();
  }

  /** @param {import("../core/types.js").Changes} changes */
  update(changes) {
    this.#entitle();
    this.#announce(changes.turned);
    const { sidecar } = this.context.state.sections;
    if (!sidecar || !changes.all) return;
    setText(this.name, sidecar.instance);
    this.#lead(sidecar.views);
    this.foot.replaceChildren(...this.#footParts(sidecar));
  }

  /** @param {Connection} connection */
  showConnection(connection) {
    const { t } = this.context;
    this.shown = connection;
    const isGone = !connection.isLive && connection.nextMs > 0;
    setAttribute(document.body, "class", isGone ? "gone" : "");
    setAttribute(this.connection, "class", `connection ${connection.isLive ? "live" : isGone ? "lost" : "begun"}`);
    setText(this.connection, t(connection.isLive ? "connection.live" : isGone ? "connection.lost" : "connection.begun"));
    this.banner.hidden = !isGone;
    if (isGone && !this.isGone) this.#buildBanner(connection);
    if (isGone !== this.isGone) this.#say(t(isGone ? "connection.silent" : "connection.back"));
    this.isGone = isGone;
    this.#count();
  }

  #head() {
    const { t, language } = this.context;
    const other = LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length];
    const name = t(`language.${other}`);
    this.language = html("button", { type: "button", class: "language", lang: other, title: t("shell.language") }, name);
    this.language.addEventListener("click", () => this.actions.chooseLanguage(other));
    const mark = svg("svg", { viewBox: "0 0 32 32", class: "logo", "aria-hidden": "true" }, svg("path", { d: "M5 20l6-7 5 5 5-9 6 7" }));
    this.brand.append(mark, html("span", {}, "marketdata-exporter"));
    return html(
      "header",
      {},
      this.brand,
      this.name,
      this.views,
      html("span", { class: "space" }),
      this.connection,
      this.language,
      this.#themes(),
    );
  }

  /**
   * Lead to these views, from the name of the page to the first one.
   * @param {string[]} views
   */
  #lead(views) {
    setAttribute(this.brand, "href", PATHS[views[0]]);
    const links = views.map((view) => html("a", { href: linkTo(PATHS[view]), "data-view": true }, this.context.t(`view.${view}`)));
    this.views.replaceChildren(...(views.length > 1 ? links : []));
    this.markView(this.path);
  }

  /**
   * Mark the view that a path belongs to.
   * @param {string} path
   */
  markView(path) {
    this.path = path;
    const [, view] = Object.entries(PATHS).find(([, start]) => start !== "/" && path.startsWith(start)) ?? ["overview", PATHS.overview];
    for (const link of this.views.querySelectorAll("a")) {
      setAttribute(link, "aria-current", link.pathname === view ? "page" : null);
    }
  }

  #themes() {
    const { t } = this.context;
    const button = html("button", { type: "button", class: "theme" });
    const show = () => {
      const theme = document.documentElement.dataset.theme ?? "system";
      const icon = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ICONS[/** @type {keyof typeof ICONS} */ (theme)] }));
      button.replaceChildren(icon);
      const text = t("shell.theme", { theme: t(`theme.${theme}`) });
      setAttribute(button, "aria-label", text);
      setAttribute(button, "title", text);
    };
    button.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme ?? "system";
      chooseTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
      show();
    });
    show();
    return button;
  }

  /** @param {import("../core/types.js").SidecarInfo} sidecar */
  #footParts(sidecar) {
    const { t, format } = this.context;
    const started = t("shell.started", { time: format.clock(sidecar.started_ms) });
    const isSidecar = sidecar.views.includes("overview");
    const more = isSidecar ? ["/config", "/-/ready", "/-/healthy", "/api/v1/feeds"] : ["/-/healthy", "/api/v1/programs"];
    const paths = [sidecar.telemetry_path, ...more];
    return [
      html("span", {}, `marketdata-exporter ${sidecar.version}`),
      html("span", { title: iso(sidecar.started_ms) }, started),
      html("nav", { "aria-label": t("shell.paths") }, ...paths.map((path) => html("a", { href: path }, path))),
    ];
  }

  /** @param {Connection} connection */
  #buildBanner(connection) {
    const { t, format, state } = this.context;
    const text = state.figuresMs
      ? t("connection.since", { since: format.clock(connection.lastMs), figures: format.clock(state.figuresMs) })
      : t("connection.never");
    const button = html("button", { type: "button" }, t("connection.retry"));
    button.addEventListener("click", () => this.actions.retry());
    this.banner.replaceChildren(html("strong", {}, t("connection.silent")), html("span", {}, text), this.next, button);
  }

  /** Count down to the next attempt. */
  #count() {
    if (!this.shown || this.shown.isLive || this.banner.hidden) return;
    const { t, format } = this.context;
    const seconds = Math.ceil(Math.max(0, this.shown.nextMs - Date.now()) / 1000);
    setText(this.next, t("connection.next", { seconds: format.duration(seconds) }));
  }

  /** @param {import("../core/types.js").Feed[]} turned */
  #announce(turned) {
    if (!turned.length) return;
    const { t } = this.context;
    const some = turned.length <= ANNOUNCED_MAX;
    const texts = turned.map((feed) => t("spoken.turned", { feed: feed.name, state: t(`state.${feed.state ?? "elsewhere"}`) }));
    this.#say(some ? texts.join(". ") : t("spoken.many", { n: turned.length }));
  }

  /** @param {string} text */
  #say(text) {
    this.spoken.replaceChildren(foreign(text));
  }

  /** The title of the document begins with what needs attention. */
  #entitle() {
    const { t, state } = this.context;
    const { states = {}, sidecar } = state.sections;
    const fine = ["ok", "maintenance", "unknown"];
    const failing = Object.entries(states).reduce((sum, [name, n]) => sum + (fine.includes(name) ? 0 : n), 0);
    const parts = [failing ? t("shell.failing", { n: failing }) : "", this.viewTitle, sidecar?.instance ?? ""];
    const text = parts.filter(Boolean).join(" · ");
    if (document.title !== text) document.title = text;
  }
}

/** @param {string} theme */
function chooseTheme(theme) {
  const { dataset } = document.documentElement;
  try {
    if (theme === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
  } catch {
    // Storage may be denied: the choice then holds until the page is left.
  }
  if (theme === "system") delete dataset.theme;
  else dataset.theme = theme;
}
