"""Formats that come with the sidecar, for records as known programs write them: `presets/*.yml`. Pure.

A file has entries by name, and its own name means all of them: `kraken` is `kraken-ticker`, `kraken-trade` and more.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from exporter.config.layers import Given, Problem, from_file

SUFFIX = ".yml"


@cache
def presets() -> dict[str, list[Given]]:
    """Return the entries of each preset, by name."""
    found: dict[str, list[Given]] = {}
    for file in sorted((files("exporter.config") / "presets").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(SUFFIX):
            continue
        problems: list[Problem] = []
        entries = from_file(file.read_text(encoding="utf-8"), problems).value
        assert not problems, problems  # noqa: S101 - a file of the package
        named = {name: Given(entry.value, f"preset {name}") for name, entry in entries.items()}
        found[file.name.removesuffix(SUFFIX)] = list(named.values())
        found |= {name: [entry] for name, entry in named.items()}
    return found


def layers(given: Given) -> list[list[Given]]:
    """Return the layers of each format that an entry of `input.formats` means, the preset's first.

    Raise `LookupError` with the name of a preset that does not exist.
    """
    mapping = given.value if isinstance(given.value, dict) else {"preset": given}
    name = mapping["preset"].value if "preset" in mapping else None
    if not isinstance(name, str):
        return [[given]]
    if name not in presets():
        raise LookupError(name)
    return [[entry, Given(mapping, given.place)] for entry in presets()[name]]
