/** The views of the page. The first one whose route matches the path is shown. */

import * as feed from "./feed.js";
import * as overview from "./overview.js";
import * as program from "./program.js";
import * as programs from "./programs.js";
import * as risk from "./risk.js";

/**
 * @typedef {object} Context
 * @property {string} language
 * @property {import("../core/language.js").Translate} t
 * @property {import("../core/format.js").Format} format
 * @property {import("../core/state.js").State} state
 * @property {import("../core/history.js").History} history
 * @property {(types: string) => void} listen - which published events the stream has, see `Tab.listen`
 */
/**
 * A mounted view. Each method but `close` is optional.
 * @typedef {object} Mounted
 * @property {(changes: import("../core/types.js").Changes) => void} [update] - the state has changed
 * @property {() => void} [drawHistory] - `context.history` has something new
 * @property {(published: import("../core/types.js").Published) => void} [published]
 * @property {() => void} [readAddress] - the query of the address has changed
 * @property {() => unknown} [place] - where in the view the reader is, when another one is opened
 * @property {(place: any) => void} [restore] - bring the reader back to a place, when the view is returned to
 * @property {() => void} [escape] - the reader has pressed Escape
 * @property {() => void} close
 */
/**
 * @typedef {object} View
 * @property {string} route - a path, in which `:name` stands for one segment, and `*name` at its end for the rest as it is
 * @property {(context: Context, parameters: Record<string, string>) => string} title
 * @property {(context: Context, root: HTMLElement, parameters: Record<string, string>) => Mounted} mount
 */

/** @type {View[]} */
export const VIEWS = [overview, feed, programs, program, risk];

/**
 * Return the view of a path with the parameters in it; the first view for a path that is none.
 * @param {string} path
 * @returns {{view: View, parameters: Record<string, string>}}
 */
export function viewOf(path) {
  for (const view of VIEWS) {
    const parameters = match(view.route, path);
    if (parameters) return { view, parameters };
  }
  return { view: VIEWS[0], parameters: {} };
}

/**
 * @param {string} route
 * @param {string} path
 */
function match(route, path) {
  const names = route.split("/");
  const rest = names.at(-1)?.startsWith("*") ? names.pop()?.slice(1) : undefined;
  const segments = path.split("/");
  const others = segments.splice(names.length).join("/");
  if (names.length !== segments.length || (rest === undefined ? others : !others)) return null;
  /** @type {Record<string, string>} */
  const parameters = rest === undefined ? {} : { [rest]: others };
  for (const [at, name] of names.entries()) {
    if (name.startsWith(":")) parameters[name.slice(1)] = decoded(segments[at]);
    else if (name !== segments[at]) return null;
  }
  return parameters;
}

/** @param {string} segment */
function decoded(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
