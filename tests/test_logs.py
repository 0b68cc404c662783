"""Log lines: the same one is not written over and over, and a changed one at once."""

import ast
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.runtime.log_repeats import BURST, QUIET_SECONDS, REPEAT_SECONDS, RepeatFilter
from tests.support.documents import DOCUMENTS

PACKAGE = Path(__file__).parents[1] / "exporter"


class Lines(logging.Handler):
    """What is written of what is logged, at the time that the test says."""

    def __init__(self, name: str = "exporter.source") -> None:
        super().__init__()
        self.now = 0.0
        self.written: list[logging.LogRecord] = []
        self.logger = logging.Logger(name, logging.DEBUG)
        self.logger.addFilter(RepeatFilter(lambda: self.now))
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self.written.append(record)

    def kept_back(self) -> list[int]:
        """How many lines each written one stands for beside itself."""
        return [getattr(record, "kept_back", 0) for record in self.written]


def test_the_same_line_is_written_once_in_some_minutes_with_how_often_it_came() -> None:
    lines = Lines()
    for second in range(int(2 * REPEAT_SECONDS) + 1):
        lines.now = float(second)
        lines.logger.warning("kafka", extra={"error": "Broker: no"})
    assert lines.kept_back() == [0, REPEAT_SECONDS - 1, REPEAT_SECONDS - 1]


def test_a_changed_cause_is_written_at_once() -> None:
    lines = Lines()
    for cause in ("first", "first", "second", "first", "second"):
        lines.logger.warning("kafka", extra={"error": cause})
    assert [vars(record)["error"] for record in lines.written] == ["first", "second"]


def test_what_was_over_and_comes_back_is_news() -> None:
    lines = Lines()
    for now in (0.0, QUIET_SECONDS - 1, 2 * QUIET_SECONDS):
        lines.now = now
        lines.logger.error("the consumer is broken")
    assert lines.kept_back() == [0, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("FAIL [c#consumer-1] [thrd]: a:1: no (after 5ms in state CONNECT)",
         "FAIL [c#consumer-2] [thrd]: a:1: no (after 12ms in state CONNECT)"),
        ("a:1: no (after 5ms in state CONNECT, 3 identical error(s) suppressed)",
         "a:1: no (after 1ms in state CONNECT, 30 identical error(s) suppressed)"),
        ("no turn for 31 s", "no turn for 32 s"),
        ("REQTMOUT: Timed out FetchRequest in flight (after 60023ms, timeout #0)",
         "REQTMOUT: Timed out FetchRequest in flight (after 60001ms, timeout #3)"),
        ("2 request(s) timed out", "13 request(s) timed out"),
    ],
)  # fmt: skip
def test_numbers_of_one_happening_make_no_other_line(first: str, second: str) -> None:
    lines = Lines()
    lines.logger.warning("%s", first)
    lines.logger.warning("%s", second, extra={"next_try_seconds": 4.0})
    assert len(lines.written) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [("kafka-1:9092: no", "kafka-2:9092: no"), ("ticker/0", "ticker/1"), ("feed 10", "feed 100")],
)
def test_other_brokers_partitions_and_names_are_another_line(first: str, second: str) -> None:
    lines = Lines()
    lines.logger.warning("line", extra={"error": first})
    lines.logger.warning("line", extra={"error": second})
    assert len(lines.written) == 2


def test_news_may_come_again() -> None:
    """Partitions that are assigned, revoked and assigned again are assigned at last."""
    lines = Lines()
    for _ in range(2):
        lines.logger.info("partitions assigned", extra={"partitions": "ticker/0"})
    assert len(lines.written) == 2


def test_what_is_wrong_is_no_news_at_any_level() -> None:
    """Nor is what librdkafka says by the way."""
    lines = Lines()
    for _ in range(2):
        lines.logger.info("no new producer yet", extra={"error": "the broker is away"})
        lines.logger.info("%s [%s] %s", "REQTMOUT", "client", "timed out")
    assert len(lines.written) == 2


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_lines_of_one_kind_are_bounded_whatever_they_say(level: int) -> None:
    """What was kept back is told with the next one, and other kinds have room of their own."""
    lines = Lines()
    for number in range(1000):
        lines.logger.log(level, "an event can never be sent", extra={"ce_id": f"ticker/0/{number}x"})
    assert len(lines.written) == BURST
    lines.logger.log(level, "another kind")
    lines.now = 6.5
    lines.logger.log(level, "an event can never be sent", extra={"ce_id": "ticker/0/last"})
    assert lines.kept_back() == [0] * (BURST + 1) + [1000 - BURST]


def test_librdkafkas_lines_are_of_a_kind_by_their_first_word() -> None:
    lines = Lines("exporter.kafka")
    for number in range(100):
        lines.logger.error("%s [%s] %s", "FAIL", "client", f"broker-{number}: no")
    lines.logger.error("%s [%s] %s", "FATAL", "client", "no")
    assert [record.args[0] for record in lines.written if record.args] == ["FAIL"] * BURST + ["FATAL"]  # type: ignore[index]


def test_lines_for_finding_errors_are_all_written() -> None:
    lines = Lines()
    for _ in range(100):
        lines.logger.debug("again")
    assert len(lines.written) == 100


def test_what_is_remembered_is_bounded() -> None:
    lines = Lines()
    for minute in range(600):
        lines.now = 60.0 * minute
        for number in range(100):
            lines.logger.warning("line", extra={"error": f"{minute}.{number}.x"})
    (memory,) = (each for each in lines.logger.filters if isinstance(each, RepeatFilter))
    assert len(memory._causes) < 100


def test_lines_of_other_libraries_are_limited_in_a_program_and_ours_once() -> None:
    """A program whose descriptors run out is told so by asyncio, in thousands of lines."""
    code = """
import logging
from exporter.runtime import logs
ours = logs.logger("any")
logs.configure("info", "logfmt")
for number in range(1000):
    logging.getLogger("asyncio").error("socket %s: out of descriptors", number)
    logging.getLogger("asyncio").error("the same")
    ours.warning("ours", extra={"error": "the same"})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    written = done.stderr.splitlines()
    assert len([line for line in written if "logger=asyncio" in line]) <= BURST + 1
    assert len([line for line in written if "msg=ours" in line]) == 1


def test_no_module_makes_a_logger_that_is_not_limited() -> None:
    """`logs.logger` makes them; that of the embedded broker is silent, and the application counts lines.

    The library for other programs (`notices.py`) logs each of its lines once, and commands (`cli.py`) none.
    """
    made = {
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
    }
    assert made == {"logs.py", "embedded.py", "app.py", "cli.py", "notices.py"}


def test_the_documents_say_how_often() -> None:
    assert REPEAT_SECONDS == 5 * 60
    assert re.search(r"again\s+every five minutes", DOCUMENTS)
    assert "kept_back" in DOCUMENTS
