/** A small line of the last minutes: no axes, gaps where nothing is known. */

import { setAttribute, svg } from "../core/dom.js";

/** @typedef {readonly (number | null)[]} Series */

export class Sparkline {
  /**
   * @param {number} width - in the units of its own view box; the style sets the size
   * @param {number} height
   * @param {string} [label] - what it shows; without it the line is for eyes only
   */
  constructor(width, height, label) {
    this.width = width;
    this.height = height;
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    const role = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
    const box = { class: "sparkline", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" };
    this.element = svg("svg", { ...box, ...role }, this.area, this.line);
  }

  /**
   * Draw a series, scaled from zero to its largest value.
   * @param {Series} values - the last one is the newest
   */
  draw(values) {
    const { line, area } = outline(values, this.width, this.height);
    setAttribute(this.line, "d", line);
    setAttribute(this.area, "d", area);
  }
}

/**
 * Return the paths of a line and of the area below it, one piece for each run of known values.
 * @param {Series} values
 * @param {number} width
 * @param {number} height
 * @param {number} [most] - what the height stands for
 */
export function outline(values, width, height, most = largest(values)) {
  const step = width / Math.max(1, values.length - 1);
  const inner = height - 2;
  let line = "";
  let area = "";
  for (const [start, end] of runs(values)) {
    const points = values.slice(start, end).map((value, at) => {
      const x = (start + at) * step;
      return `${round(x)} ${round(height - 1 - (most ? ((value ?? 0) / most) * inner : 0))}`;
    });
    line += `M${points.join("L")}${points.length === 1 ? "h1" : ""}`;
    area += `M${round(start * step)} ${height}L${points.join("L")}L${round((end - 1) * step)} ${height}z`;
  }
  return { line, area };
}

/**
 * Return the largest value of a series, 0 for none.
 * @param {Series} values
 */
export function largest(values) {
  let most = 0;
  for (const value of values) if (value !== null && value > most) most = value;
  return most;
}

/**
 * Return where known values begin and end.
 * @param {Series} values
 */
function runs(values) {
  /** @type {[number, number][]} */
  const found = [];
  let start = -1;
  for (let at = 0; at <= values.length; at++) {
    const known = at < values.length && values[at] !== null;
    if (known && start < 0) start = at;
    if (!known && start >= 0) {
      found.push([start, at]);
      start = -1;
    }
  }
  return found;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
