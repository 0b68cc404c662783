"""The examples in README.md."""

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the content of each block in that language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def block(language: str, word: str) -> str:
    """Return the only block in that language that has this word."""
    (found,) = [each for each in blocks(language) if word in each]
    return found
