/** Numbers, durations and times as texts. What is unknown is a dash. */

export const ABSENT = "–";

/** @typedef {import("./language.js").Translate} Translate */
/** @typedef {number | null | undefined} Maybe */

/** The units of durations, from the largest: seconds in one, and the key of its text. */
const UNITS = /** @type {const} */ ([[86_400, "unit.d"], [3_600, "unit.h"], [60, "unit.min"], [1, "unit.s"], [0.001, "unit.ms"], [0.000_001, "unit.us"]]);
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

export class Format {
  /**
   * @param {string} language
   * @param {Translate} t
   */
  constructor(language, t) {
    this.t = t;
    this.whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
    this.three = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
    this.percentage = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
    this.fine = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
    this.time = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
    this.minute = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    this.day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
  }

  /**
   * A count, grouped.
   * @param {Maybe} value
   */
  count(value) {
    return isNumber(value) ? this.whole.format(value) : ABSENT;
  }

  /**
   * A measured number with three digits: 0.042, 4.25, 1,234.
   * @param {Maybe} value
   */
  number(value) {
    if (!isNumber(value)) return ABSENT;
    return Math.abs(value) >= 100 ? this.whole.format(value) : this.three.format(value);
  }

  /**
   * A share of 1 in percent.
   * @param {Maybe} value
   */
  percent(value) {
    if (!isNumber(value)) return ABSENT;
    return value > 0 && value < 0.1 ? this.fine.format(value) : this.percentage.format(value);
  }

  /**
   * A duration in the largest unit that it has at least one of, with at most two digits behind the first.
   * @param {Maybe} seconds
   */
  duration(seconds) {
    if (!isNumber(seconds)) return ABSENT;
    if (seconds === 0) return this.t("unit.s", { n: 0 });
    const [size, key] = UNITS.find(([least]) => Math.abs(seconds) >= least) ?? UNITS[UNITS.length - 1];
    const value = seconds / size;
    const digits = size >= 60 || Math.abs(value) >= 10 ? Math.round(value) : Math.round(value * 10) / 10;
    return this.t(key, { n: this.three.format(digits) });
  }

  /**
   * A duration of at least a second in whole seconds, minutes and so on, as it is counted while it grows.
   * @param {Maybe} seconds
   */
  age(seconds) {
    return isNumber(seconds) ? this.duration(seconds < 1 ? 0 : seconds < 60 ? Math.floor(seconds) : seconds) : ABSENT;
  }

  /**
   * A number of bytes in binary units.
   * @param {Maybe} value
   */
  bytes(value) {
    if (!isNumber(value)) return ABSENT;
    const power = value < 1 ? 0 : Math.min(BYTES.length - 1, Math.floor(Math.log2(value) / 10));
    return `${this.three.format(value / 1024 ** power)} ${BYTES[power]}`;
  }

  /**
   * A time of today as hours, minutes and seconds, of another day with the day before it; local time.
   * @param {Maybe} ms - Unix milliseconds
   */
  clock(ms) {
    if (!isNumber(ms) || Math.abs(ms) > 8.64e15) return ABSENT;
    const date = new Date(ms);
    const text = this.time.format(date);
    return date.toDateString() === new Date().toDateString() ? text : `${this.day.format(date)} ${text}`;
  }
}

/**
 * The UTC time in ISO 8601, for tooltips.
 * @param {Maybe} ms - Unix milliseconds
 */
export function iso(ms) {
  return isNumber(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "";
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
