/** What the reader has chosen, kept in the query of the address, so that it can be reloaded, shared and gone back to. */

/**
 * Return a parameter of the address.
 * @param {string} name
 */
export function parameter(name) {
  return new URLSearchParams(location.search).get(name);
}

/**
 * Put parameters into the address; null and the empty text remove one.
 * @param {Record<string, string | null>} changes
 * @param {"push" | "replace"} how - whether the back button returns to what was chosen before
 */
export function setParameters(changes, how) {
  const target = location.pathname + changed(location.search, changes);
  if (target === location.pathname + location.search) return;
  if (how === "push") history.pushState(null, "", target);
  else history.replaceState(history.state, "", target);
}

/**
 * Return a query with parameters changed; null and the empty text remove one.
 * @param {string} search
 * @param {Record<string, string | null>} changes
 */
export function changed(search, changes) {
  const parameters = new URLSearchParams(search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) parameters.set(name, value);
    else parameters.delete(name);
  }
  const text = parameters.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  return text ? `?${text}` : "";
}

/**
 * Return a link to a path that keeps the language of the address.
 * @param {string} path
 */
export function linkTo(path) {
  return path + changed("", { lang: parameter("lang") });
}
