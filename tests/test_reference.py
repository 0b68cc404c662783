"""The reference file says what the code does."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any, Literal, get_args, get_origin

import yaml

from exporter.config.loader import expected, keys, load
from exporter.config.schema import Config, CreateTopics, Thresholds

REFERENCE = (files("exporter.config") / "reference.yml").read_text()


def loaded(text: str | None) -> Config:
    return load(text, {}, {}, hostname="box-1", read_file=lambda path: "hunter2")


def with_examples() -> str:
    """The reference file with its examples in the place of the empty defaults that they follow."""
    with_example = r"^  (properties|formats|expected|thresholds|calendar|pairs|create_topics):.*\n(?=  #)"
    without = re.sub(with_example, "", REFERENCE, flags=re.MULTILINE)
    return re.sub(r"^( *)#(?! |$)", r"\1", without, flags=re.MULTILINE)


def is_property(path: str) -> bool:
    return path.startswith("kafka.properties.")


def paths_of(value: Any, path: str) -> set[str]:
    if not isinstance(value, dict):
        return set()
    inner = {f"{path}.{key}".lstrip("."): below for key, below in value.items()}
    return set(inner).union(*(paths_of(below, name) for name, below in inner.items()))


def test_the_reference_file_is_the_defaults() -> None:
    """Loading it is the same as loading nothing."""
    assert loaded(REFERENCE) == loaded(None)


def test_the_reference_file_has_every_key_and_no_other() -> None:
    """Keys of the code and keys of the file are the same."""
    found = {path for path in paths_of(yaml.safe_load(with_examples()), "") if not is_property(path)}
    assert found == set(keys())


def test_the_examples_in_the_reference_file_are_valid() -> None:
    """What users uncomment can be loaded."""
    config = loaded(with_examples())
    assert config.output.create_topics == CreateTopics()
    assert len(config.feeds.expected) == 2
    assert config.feeds.thresholds == (Thresholds(feeds=("*:*:trade",), silent=30.0),)
    assert [one.preset for one in config.input.formats] == [*["cryptofeed"] * 4, "kraken", None]
    assert len(config.feeds.calendar) == 1
    assert len(config.feeds.pairs) == 2
    assert config.kafka.properties["sasl.password"] == "hunter2"


def comments() -> dict[str, str]:
    """The comment that stands above each key, or above the first of its group."""
    found: dict[str, str] = {}
    above: list[str] = []
    comment, in_comment = "", False
    for line in with_examples().splitlines():
        text = line.strip()
        if text.startswith("# "):
            comment = f"{comment} {text[2:]}" if in_comment else text
        elif not text:
            comment = ""
        elif key := re.match(r"(\w+):", text):
            above = [*above[: (len(line) - len(line.lstrip())) // 2], key[1]]
            found[".".join(above)] = comment
        in_comment = text.startswith("# ")
    return found


def test_every_key_is_explained() -> None:
    """Below the sections, each key or group of keys follows a comment."""
    told = comments()
    assert not [path for path in keys() if "." in path and not told[path]]


def test_the_comments_name_what_the_code_allows() -> None:
    """Bounds and words stand in the comment of their key as they stand in the error messages."""
    told = comments()
    for path, kind in keys().items():
        if bounds := re.search(r"from (\S+ to [^,]+)", expected(kind)):
            assert bounds[1] in told[path], path
        if get_origin(kind) is Literal:
            assert all(word in told[path] for word in get_args(kind)), path


def needs_restart(path: str) -> bool:
    """Whether a reload cannot change the key, by the mark of a section in the schema."""
    kind: Any = Config
    parts = path.split(".")
    for number, part in enumerate(parts, 1):
        if part in kind.needs_restart:
            return True
        if number < len(parts):
            kind = keys()[".".join(parts[:number])]
    return False


def test_the_comments_mark_what_needs_a_restart() -> None:
    told = comments()
    for path in keys():
        if path.startswith("output.create_topics."):  # marked above all of them
            continue
        assert ("[restart]" in told[path]) is (needs_restart(path) and bool(told[path])), path
