/** Limits that the reader tries out: kept in the address only, never sent to a program. */

import { parameter, setParameters } from "./address.js";
import { isNumber } from "./format.js";

const KINDS = /** @type {const} */ (["stage", "target", "cpu", "memory"]);
/** @typedef {(typeof KINDS)[number]} Kind */

/**
 * Return the limit that is tried for something, null for none.
 * @param {Kind} kind
 * @param {string} [name]
 */
export function tried(kind, name = "") {
  const text = parameter(`try.${kind}.${name}`);
  const value = text ? Number(text) : NaN;
  return isNumber(value) && value >= 0 ? value : null;
}

/**
 * Try a limit; the empty text takes the program's own again.
 * @param {Kind} kind
 * @param {string} name
 * @param {string} text
 */
export function tryOut(kind, name, text) {
  setParameters({ [`try.${kind}.${name}`]: text }, "replace");
}

/** Return the names of the parameters of all that is tried. */
export function allTried() {
  return [...new URLSearchParams(location.search).keys()].filter((name) => KINDS.some((kind) => name.startsWith(`try.${kind}.`)));
}

/** Take the program's own limits again. */
export function untry() {
  setParameters(Object.fromEntries(allTried().map((name) => [name, null])), "push");
}
