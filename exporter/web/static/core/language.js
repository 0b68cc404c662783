/** The texts of the page in the language of the reader: `?lang=` of the address, else what the browser prefers. */

/** @typedef {Record<string, string | number>} Values */
/** @typedef {(key: string, values?: Values) => string} Translate */

export const LANGUAGES = ["en", "ko"];

/**
 * Return the language to use.
 * @param {string | null} asked - from the address
 * @param {readonly string[]} preferred - of the browser, such as `ko-KR`
 */
export function chooseLanguage(asked, preferred) {
  if (asked && LANGUAGES.includes(asked)) return asked;
  const known = preferred.map((each) => each.slice(0, 2).toLowerCase());
  return known.find((each) => LANGUAGES.includes(each)) ?? LANGUAGES[0];
}

/**
 * Fetch the texts of a language.
 * @param {string} language
 * @returns {Promise<Translate>}
 */
export async function loadTexts(language) {
  const answer = await fetch(`/static/lang/${language}.json`);
  if (!answer.ok) throw new Error(`${language}.json: ${answer.status}`);
  return translator(await answer.json());
}

/**
 * Return a function that gives the text of a key, with `{name}` replaced by values. An unknown key is its own text.
 * @param {Record<string, string>} texts
 * @returns {Translate}
 */
export function translator(texts) {
  return (key, values = {}) => (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
