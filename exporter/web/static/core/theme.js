/*
 * Applies the stored choice between light and dark before the first paint; without one the preference of the system
 * holds. A classic script, because modules run too late for that.
 */
(() => {
  try {
    const stored = localStorage.getItem("theme");
    if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
  } catch {
    // Storage may be denied; the preference of the system holds then.
  }
})();
