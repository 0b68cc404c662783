"""Logging waits for nobody, and what could not be written is counted and reported."""

from __future__ import annotations

import json
import logging
import os
import select
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.runtime import logs
from exporter.runtime.log_writer import WAITING_BYTES, LogWriter
from tests.support.waiting import eventually

LINE = "x" * 99


class Pipe:
    """What a writer writes to, read only when the test asks for it."""

    def __init__(self) -> None:
        self.output, self.input = os.pipe()
        self.writer = LogWriter(self.input, lambda dropped: f"dropped {dropped}")
        self._read = bytearray()

    def read_all(self) -> list[str]:
        """The lines until the writer has nothing more to write."""
        reader = threading.Thread(target=self._drain)
        reader.start()
        assert self.writer.flush(30)
        os.close(self.input)
        reader.join()
        return self._read.decode().splitlines()

    def _drain(self) -> None:
        while piece := os.read(self.output, 65536):
            self._read += piece


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe that nobody reads yet."""
    made = Pipe()
    yield made
    os.close(made.output)


def test_lines_arrive_in_order(pipe: Pipe) -> None:
    lines = [f"line {number}" for number in range(5000)]
    for line in lines:
        pipe.writer.write(line)
    assert pipe.read_all() == lines
    assert pipe.writer.dropped == 0


def test_nobody_waits_for_a_pipe_that_is_not_read_and_its_later_reader_learns_what_is_missing(pipe: Pipe) -> None:
    written = 3 * WAITING_BYTES // len(LINE)
    for _ in range(written):
        pipe.writer.write(LINE)
    dropped = pipe.writer.dropped
    assert dropped > written / 2
    *lines, last = pipe.read_all()
    assert lines == [LINE] * (written - dropped)
    assert last == f"dropped {dropped}"


def test_a_pipe_that_others_made_non_blocking_gets_every_line(pipe: Pipe) -> None:
    os.set_blocking(pipe.input, False)
    for _ in range(5000):
        pipe.writer.write(LINE)
    assert pipe.read_all() == [LINE] * 5000


def test_lines_for_a_pipe_without_a_reader_are_dropped_and_counted() -> None:
    output, descriptor = os.pipe()
    os.close(output)
    writer = LogWriter(descriptor, lambda _: "")
    for _ in range(100):
        writer.write(LINE)
    assert writer.flush(10)
    assert writer.dropped == 100
    os.close(descriptor)


def test_a_writer_that_cannot_make_its_notice_goes_on(pipe: Pipe) -> None:
    writer = LogWriter(pipe.input, lambda _: "".join([None]))  # type: ignore[list-item]
    writer.write("x" * (WAITING_BYTES + 1))
    writer.write("first")
    writer.write("second")
    assert not writer.flush(0.2)
    writer.write("third")
    arrived = bytearray()

    def has_third() -> bool:
        if select.select([pipe.output], [], [], 0)[0]:
            arrived.extend(os.read(pipe.output, 65536))
        return b"third\n" in arrived

    eventually(has_third)
    os.close(pipe.input)
    assert arrived.decode().splitlines() == ["first", "second", "third"]


# How records become lines.


def line(style: str, **fields: object) -> str:
    """A record as it is written."""
    formatter = logs._Formatter(style)  # type: ignore[arg-type]
    return formatter.format(logging.makeLogRecord({"levelno": logging.WARNING, "name": "exporter.x", **fields}))


@given(st.sampled_from(["logfmt", "json"]), st.text(max_size=50), st.text(max_size=50) | st.floats() | st.none())
def test_no_record_makes_more_than_one_line_nor_reaches_a_terminal(style: str, text: str, value: object) -> None:
    written = line(style, msg=text, args=(), value=value)
    assert written.isprintable()
    if style == "json":
        assert json.loads(written, parse_constant=pytest.fail)["msg"] == text


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_field_is_cut(style: str) -> None:
    written = line(style, msg="x" * 1_000_000, args=(), more="y" * 1_000_000)
    assert len(written) < 2 * 8192 + 200


def test_the_lines_of_a_traceback_are_one_field() -> None:
    try:
        raise ValueError("\x1b[31mred")
    except ValueError as error:
        written = line("logfmt", msg="failed", exc_info=(ValueError, error, error.__traceback__))
    assert written.isprintable()
    assert "Traceback" in written
