/**
 * Charts of the view of one feed. Lines and bars are SVG, stretched to the width there is; texts are HTML above and below,
 * so that they keep their size. Each chart is an image with a name; its figures also stand beside it as text.
 */

import { html, svg } from "../core/dom.js";
import { largest, outline } from "./sparkline.js";

/** @typedef {import("./sparkline.js").Series} Series */

const WIDTH = 600;
const HEIGHT = 100;
const TICKS = 6;
/** A stretch at least this wide, of the whole band, has room for its word. */
const WORD_SHARE = 0.12;

/**
 * @param {string} className
 * @param {number} width
 * @param {number} height
 * @param {...(SVGElement | null)} children
 */
function stretched(className, width, height, ...children) {
  const box = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  return svg("svg", { class: className, ...box }, ...children);
}

/**
 * @param {string} label
 * @param {string} className
 * @param {...Node} children
 */
function image(label, className, ...children) {
  return html("div", { class: `chart ${className}`, role: "img", "aria-label": label }, ...children);
}

/**
 * Return a line over the last minutes, scaled from zero.
 * @param {{label: string, values: Series, limit?: number | null}} chart - `limit` is a line of its own
 */
export function lineChart({ label, values, limit = null }) {
  const top = Math.max(largest(values), limit ?? 0);
  const { line, area } = outline(values, WIDTH, HEIGHT, top);
  const y = limit === null || !top ? null : HEIGHT - 1 - (limit / top) * (HEIGHT - 2);
  const paths = [svg("path", { class: "area", d: area }), svg("path", { class: "line", d: line })];
  const mark = y === null ? null : svg("path", { class: "limit", d: `M0 ${y}H${WIDTH}` });
  return image(label, "lines", stretched("plot", WIDTH, HEIGHT, ...paths, mark));
}

/** @typedef {{text: string, share: number, title: string}} Bar - the share is that of the highest bar */
/** @typedef {{text: string, at: number}} Mark - `at` counts bars from the left */

/**
 * Return the bars of a histogram, the first at the left, with some of their upper bounds below and marks above.
 * @param {{label: string, bars: Bar[], marks: Mark[]}} histogram
 */
export function histogramChart({ label, bars, marks }) {
  const plot = stretched("plot", bars.length * 10, HEIGHT, ...bars.map(column));
  const every = Math.ceil(bars.length / TICKS);
  const texts = bars.map((bar, at) => html("span", {}, (bars.length - 1 - at) % every === 0 ? bar.text : ""));
  const above = marks.map((mark) => marked(mark.text, mark.at / bars.length));
  return image(label, "histogram", html("div", { class: "marks" }, ...above), plot, html("div", { class: "ticks" }, ...texts));
}

/**
 * @param {Bar} bar
 * @param {number} at
 */
function column({ share, title }, at) {
  const height = share > 0 ? Math.max(2, share * HEIGHT) : 0;
  const place = { x: at * 10 + 0.7, y: HEIGHT - height, width: 8.6, height };
  return svg("g", {}, svg("title", {}, title), svg("rect", { class: "bar", ...place }));
}

/**
 * A line with a text beside it, that of the median at the left where there is room, so that two texts do not meet.
 * @param {string} text
 * @param {number} share - of the width, from the left
 */
function marked(text, share) {
  const isLeft = text === "p50" ? share > 0.12 : share > 0.88;
  const element = html("span", { class: isLeft ? "mark left" : "mark" }, text);
  element.style.left = `${Math.min(1, share) * 100}%`;
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {number} share - of the width, from the left
 */
function placed(element, share) {
  element.style.left = `${Math.min(1, share) * 100}%`;
  if (share > 0.8) element.classList.add("at-end");
  return element;
}

/** @typedef {{state: string, word: string, from: number, to: number, title: string}} Stretch - times in Unix milliseconds */

/**
 * Return a band of states over time, with times below.
 * @param {{label: string, stretches: Stretch[], from: number, to: number, ticks: Mark[]}} band - `at` of a tick is a time
 */
export function bandChart({ label, stretches, from, to, ticks }) {
  const scale = WIDTH / Math.max(1, to - from);
  const cut = stretches.map((each) => ({ ...each, from: Math.max(each.from, from), to: Math.min(each.to, to) }));
  const blocks = cut.map(({ state, from: start, to: end, title }) => {
    const place = { x: (start - from) * scale, y: 0, width: Math.max(1, (end - start) * scale), height: HEIGHT };
    return svg("g", {}, svg("title", {}, title), svg("rect", { class: `block state-${state}`, ...place }));
  });
  const words = cut.filter((each) => each.to - each.from > (to - from) * WORD_SHARE).map((each) => {
    const word = html("span", {}, each.word);
    word.style.left = `${((each.from - from) / (to - from)) * 100}%`;
    word.style.width = `${((each.to - each.from) / (to - from)) * 100}%`;
    return word;
  });
  const times = ticks.map((tick) => placed(html("span", { class: "tick" }, tick.text), (tick.at - from) / (to - from)));
  const above = html("div", { class: "words" }, ...words);
  return image(label, "band", stretched("plot", WIDTH, HEIGHT, ...blocks), above, html("div", { class: "times" }, ...times));
}
