/**
 * Elements from values. All text becomes text nodes, so nothing that a record contains is read as HTML, and nothing here
 * needs inline styles, which the content security policy refuses.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return an element of HTML.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes] - true is an attribute without a value; null and false leave it out
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * Return an element of SVG.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 * @returns {E}
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(nodeOf(child));
  }
  return element;
}

/**
 * @param {Node | string | number} child
 * @returns {Node | string}
 */
function nodeOf(child) {
  return typeof child === "number" ? String(child) : child;
}

/**
 * Set, or with null, undefined or false remove, an attribute; an attribute that has the value already is not touched.
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/**
 * Set the text of an element that contains nothing else, unless it is that already.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  const node = element.firstChild;
  if (node instanceof Text && node === element.lastChild) {
    if (node.data !== text) node.data = text;
  } else {
    element.textContent = text;
  }
}

/**
 * Return whether the focus is within an element: what is in it must then stay, or the reader loses the place.
 * @param {Element} element
 */
export function holdsFocus(element) {
  return element.contains(document.activeElement);
}

/**
 * Return an element for a name or a text that comes from elsewhere: its direction does not affect what is beside it.
 * @param {string} text
 * @param {string} [className]
 */
export function foreign(text, className = "") {
  return html("bdi", className ? { class: className } : {}, text);
}
