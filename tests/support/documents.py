"""README.md and the pages of docs/, and the examples in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
DOCUMENTS = "\n".join(PAGES.values())


def page(name: str) -> str:
    """Return the text of `docs/<name>.md`."""
    return PAGES[f"docs/{name}.md"]


def blocks(language: str, text: str = DOCUMENTS) -> list[str]:
    """Return the content of each block in that language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def block(language: str, word: str) -> str:
    """Return the only block in that language that has this word."""
    (found,) = [each for each in blocks(language) if word in each]
    return found
