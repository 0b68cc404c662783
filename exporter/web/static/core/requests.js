/** Requests for JSON. */

/**
 * Return the answer of the sidecar, or nothing but an error when there is none.
 * @param {string} path
 * @returns {Promise<{data?: any, next?: string, error?: string, status: number}>}
 */
export async function getJson(path) {
  try {
    const answer = await fetch(path);
    return { ...(await answer.json()), status: answer.status };
  } catch (error) {
    return { error: String(error), status: 0 };
  }
}
