"""`explain` shows what becomes of one record, and `check` what it makes of the newest."""

import io
import json
import re
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka import admin as kafka_admin
from hypothesis import given
from hypothesis import strategies as st

from exporter import cli
from exporter.config.loader import load
from exporter.config.schema import Config, InputConfig, KafkaConfig, Limits
from exporter.config.web_schema import WebConfig
from exporter.decoding.contents import expects_prices
from exporter.model import Partition, Record
from exporter.tools.check import command
from exporter.tools.check import records as newest_records
from exporter.tools.check.model import Level
from exporter.tools.explain.candidate import Candidate
from exporter.tools.explain.decoders import UsualDecoder, candidates, decoder_for
from exporter.tools.explain.paths import PATHS, paths, unread
from exporter.tools.explain.report import report
from exporter.tools.explain.understanding import blindness, recognised, understand
from tests.support.formats import samples
from tests.support.kafka import Broker
from tests.support.process import free_port

NOW_MS = 1_760_031_213_693
CONFIG = Config()
TOPIC = "ticker-data.korea"


def value(*rows: dict[str, Any], kind: str = "ticker", **fields: Any) -> bytes:
    """The value of a record: a batch of the rows, with other fields where they are given."""
    batch = {"exchange": "upbit", "region": "korea", "request_type": kind, "timestamp_ms": NOW_MS, "data": rows}
    return json.dumps(batch | fields).encode()


def row(symbol: str = "KRW-BTC", **fields: Any) -> dict[str, Any]:
    """A ticker, with other fields where they are given."""
    return {"target_currency": symbol, "timestamp": NOW_MS - 5, "last": 126.5} | fields


def record(content: bytes | None, offset: int = 7, topic: str = TOPIC) -> Record:
    """A record with that value."""
    return Record(Partition(topic, 0), offset, NOW_MS, content)


@cache
def usual_candidates() -> list[Candidate]:
    """What else may read a record; to make them takes most of the time of `explained`, and reading changes none."""
    return list(candidates(TOPIC, CONFIG))


def explained(content: bytes | None, config: Config = CONFIG) -> str:
    """The text about a record."""
    one = record(content)
    decoder = decoder_for(one.partition.topic, config)
    understood = understand(one, decoder, config.input.limits)
    tried = usual_candidates() if config is CONFIG else candidates(TOPIC, config)
    return report(understood, decoder, recognised([understood], tried, config.input.limits))


def line(text: str, field: str) -> list[str]:
    """The words of the line about a field."""
    return next(words for each in text.splitlines() if (words := each.split())[:1] == [field])


# One record.


def test_each_field_of_a_batch_is_shown_with_its_source_and_what_was_found() -> None:
    text = explained(value(row(), row("KRW-ETH", last=None)))
    assert "accepted  korea:upbit:ticker, messages: 2" in text
    assert line(text, "exchange") == ["exchange", "exchange", '"upbit"']
    assert line(text, "timestamp_ms")[-1] == "(2025-10-09T17:33:33.693Z)"
    assert line(text, "symbol") == ["symbol", "data[].target_currency", '"KRW-BTC"']
    assert line(text, "last") == ["last", "data[].last", "in", "1", "of", "2", "messages,", "126.5"]
    assert line(text, "high") == ["high", "data[].high", "missing"]


def test_a_rejected_record_shows_reason_place_and_what_it_has_instead() -> None:
    text = explained(value({"code": "KRW-BTC", "trade_price": 1}))
    assert "rejected  missing_field: " in text
    assert "$.data[0]" in text
    assert line(text, "symbol")[-1] == "missing"
    assert 'not read: data[].code: "KRW-BTC", data[].trade_price: 1' in text


def test_another_name_of_the_symbol_is_recognised() -> None:
    text = explained(value({"code": "KRW-BTC", "timestamp": NOW_MS, "last": 1}))
    assert text.endswith("    input:\n      symbol_field: code")


def test_nothing_is_proposed_for_a_record_that_is_read_well() -> None:
    assert "In the configuration" not in explained(value(row(code="KRW-BTC", symbol="BTC")))


@pytest.mark.parametrize("content", [None, b"", b"\xff\x00\x01", b"hello", b"<html>", b'{"a"', b"[1,2]", b"7", b"{}"])
def test_what_is_no_batch_is_explained_as_such(content: bytes | None) -> None:
    text = explained(content)
    assert "\nrejected  " in text
    assert "\nNo known format reads it.\n" in text


@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
).map(lambda content: json.dumps(content).encode())))  # fmt: skip
def test_any_bytes_are_explained(content: bytes) -> None:
    assert "record " in explained(content)


def test_a_stamp_in_seconds_is_named_as_no_stamp() -> None:
    text = explained(value(row(timestamp=1_760_031_213.6)))
    assert "none with a timestamp" in text
    assert "1760031213.6 is no Unix time in milliseconds" in text


def test_a_field_that_cannot_be_read_is_counted() -> None:
    text = explained(value(row(high="n/a"), row("B", high=3)))
    assert line(text, "high") == [
        "high",
        "data[].high",
        "unreadable",
        "in",
        "1;",
        "in",
        "1",
        "of",
        "2",
        "messages,",
        "3.0",
    ]


def test_names_beyond_the_limits_are_rejected_as_in_a_run() -> None:
    assert "rejected  invalid_symbol: " in explained(value(row("x" * 65)))
    assert "rejected  invalid_feed: " in explained(value(row(), exchange="up bit"))


def test_what_is_called_a_password_is_not_shown() -> None:
    text = explained(value(row(), password="sesame", url="http://me:sesame@host/"))
    assert "password" in text
    assert "sesame" not in text


# Blindness.


@pytest.mark.parametrize(
    ("rows", "kind", "missing"),
    [
        ([row()], "ticker", []),
        ([row(last=None)], "ticker", ["price"]),
        ([row(last=None, high=3, low=1)], "ticker", ["price"]),
        ([row(last=None, price=1)], "trade", []),
        ([row(last=None, asks=[], bids=[])], "orderbook", []),
        ([row(last=None, asks=None)], "orderbook", ["price"]),
        ([row(timestamp=0)], "ticker", ["timestamp"]),
        ([{"target_currency": "A"}], "trade", ["price", "timestamp"]),
        ([row(last=None)], "funding", []),
        ([row(last=None), row()], "ticker", []),
        ([], "ticker", []),
    ],
)
def test_feeds_are_blind_when_no_row_has_a_price_or_a_stamp(
    rows: list[dict[str, Any]], kind: str, missing: list[str]
) -> None:
    understood = understand(record(value(*rows, kind=kind)), UsualDecoder(CONFIG.input), CONFIG.input.limits)
    assert blindness([understood]) == missing


@pytest.mark.parametrize("kind", ["funding", "funding_rate", "openInterest", "open-interest", "status", "Notices"])
def test_kinds_without_a_price_by_nature_are_known(kind: str) -> None:
    assert not expects_prices(kind)


@pytest.mark.parametrize("kind", ["ticker", "trade", "orderbook", "candle", "aggTrade", "statustrade"])
def test_all_other_kinds_have_prices(kind: str) -> None:
    assert expects_prices(kind)


# Fields that nothing reads.


def test_of_a_list_the_fields_of_the_first_member_are_shown() -> None:
    found = paths({"a": {"b": [{"c": 1}, {"d": 2}], "e": [1, 2]}, "f": {}})
    assert found == {"a.b[].c": 1, "a.e": [1, 2], "f": {}}


def test_what_stands_in_a_field_that_is_read_is_read() -> None:
    assert unread(["a.b", "a[].c", "ab", "d"], ["a"]) == ["ab", "d"]


def test_no_more_fields_are_kept_than_are_worth_a_look() -> None:
    assert len(paths(dict.fromkeys(map(str, range(1000))))) == PATHS


# The command.


def run(*arguments: str) -> int:
    """Run the command."""
    return cli.main(["explain", *arguments])


def test_a_file_is_explained_without_a_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(value(row()) + b"\n")
    assert run("--file", str(file)) == 0
    assert "accepted  korea:upbit:ticker" in capsys.readouterr().out
    file.write_bytes(b"hello")
    assert run("--file", str(file)) == 1


def test_stdin_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value({"code": "A", "last": 1}))))
    assert run("--file", "-", "--input.symbol-field", "code") == 0
    assert "none with a timestamp" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["a/b"], ["a/1"], ["a/1/x"], ["^a"], ["a/1/2/3"]])
def test_what_names_no_record_is_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_that_is_not_there_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--file", "/none") == 1
    assert "No such file" in capsys.readouterr().err


def test_the_newest_record_of_a_topic_is_explained(
    topic: Callable[..., str], broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    name = topic("ticker-data.korea", partitions=3)
    broker.produce(name, [value(row(f"S{number}")) for number in range(9)])
    server = "--kafka.bootstrap-servers", broker.bootstrap
    assert run(name, *server) == 0
    found = re.search(rf"record    {name}/(\d)/", capsys.readouterr().out)
    assert found is not None
    # Records without a key go to any of the partitions, and perhaps all to one.
    place = f"{name}/{found[1]}"
    assert run(f"{place}/0", *server) == 0
    assert f"record    {place}/0, written 20" in capsys.readouterr().out
    assert run(f"{place}/99", *server) == 1
    assert run(f"{name}/9/0", *server) == 2
    assert run("none-such", *server) == 2


def test_markers_of_transactions_hide_no_record(
    topic: Callable[..., str], broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    name = topic("trade-data.korea")
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    for number in range(3):
        producer.begin_transaction()
        producer.produce(name, value(row(f"S{number}", price=1), kind="trade"))
        producer.commit_transaction()
    assert run(name, "--kafka.bootstrap-servers", broker.bootstrap) == 0
    assert '"S2"' in capsys.readouterr().out


# What `check` says of the newest.


def judged(*contents: bytes | None, config: Config = CONFIG) -> tuple[Level, str]:
    """The level and the line about a topic with these records."""
    finding = newest_records.judged("t", [record(each, number, "t") for number, each in enumerate(contents)], config)
    return finding.level, str(finding)


def test_records_that_are_understood_are_named_with_feeds_symbols_and_fields() -> None:
    level, text = judged(value(row("A"), row("B")), value(row("A", high=3)))
    assert level is Level.OK
    assert "t, 2 records read as the usual batch: korea:upbit:ticker with 2 symbols (A, B)" in text
    assert "found timestamp, last, high, without low, price, asks, bids, units" in text


def test_records_that_are_all_rejected_are_a_warning_with_reason_and_place() -> None:
    level, text = judged(b"hello", b"hello")
    assert level is Level.WARN
    assert "all are rejected, invalid_json at t/0/1: looks like plain text" in text
    assert text.endswith("see `explain t`")


def test_some_rejected_records_are_a_warning_that_counts_them() -> None:
    level, text = judged(b"hello", value(row()))
    assert level is Level.WARN
    assert "1 of 2 are rejected" in text
    assert "korea:upbit:ticker" in text


def test_records_without_a_price_or_a_stamp_are_a_warning() -> None:
    level, text = judged(value({"target_currency": "A"}))
    assert level is Level.WARN
    assert "no message has a price or a timestamp" in text


def test_a_format_that_is_recognised_is_named() -> None:
    assert "it looks like the usual batch with code as the symbol" in judged(value({"code": "A", "last": 1}))[1]


def test_a_topic_without_records_is_no_fault() -> None:
    assert judged() == (Level.OK, "ok    records: t has no records")


@given(st.lists(st.integers(), max_size=200, unique=True), st.integers(1, 60))
def test_a_sample_is_even_and_bounded(names: list[int], most: int) -> None:
    chosen = newest_records.sample(list(map(str, names)), most)
    assert len(chosen) == len(set(chosen)) == min(most, len(names))


def test_check_reads_the_newest_of_each_topic(
    topic: Callable[..., str], broker: Broker, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad, empty = topic("good", partitions=2), topic("bad"), topic("empty")
    broker.produce(good, [value(row(f"S{number}")) for number in range(20)])
    broker.produce(bad, [b"hello"] * 20)
    broker.committed("first", bad)  # where no group was ever used, reading would leave a trace
    command.main(
        Config(
            kafka=KafkaConfig(bootstrap_servers=broker.bootstrap),
            web=WebConfig(listen_address="127.0.0.1:0"),
            input=InputConfig(topics=(good, bad, empty), group="g-explain", limits=Limits(feeds=100)),
        )
    )
    lines = {each.split()[2].rstrip(","): each for each in capfd.readouterr().out.splitlines() if " records: " in each}
    assert lines[good].startswith("ok  ")
    assert lines[bad].startswith("warn")
    assert "has no records" in lines[empty]
    client: Any = kafka_admin.AdminClient({"bootstrap.servers": broker.bootstrap})
    groups = client.list_consumer_groups(request_timeout=10).result().valid
    assert "g-explain" not in {group.group_id for group in groups}


# Formats.


@pytest.mark.parametrize(
    ("sample", "preset"),
    [
        ("binance-combined", "binance-combined"),
        ("binance-raw", "binance-raw"),
        ("ccxt", "ccxt"),
        ("ccxt-pro", "ccxt-pro"),
        ("cryptofeed", "cryptofeed"),
        ("kor-coin-stream-2026", "kor-coin-stream-2026"),
        ("kraken", "kraken"),
        ("upbit", "upbit"),
    ],
)
def test_the_first_record_of_each_known_program_is_recognised(sample: str, preset: str) -> None:
    """And the configuration that is proposed reads it: topics, preset and all."""
    first = samples(sample)[0]
    topic, limits = first.partition.topic, CONFIG.input.limits
    understood = understand(first, decoder_for(topic, CONFIG), limits)
    found = recognised([understood], candidates(topic, CONFIG), limits)
    assert found is not None
    assert f"- preset: {preset}\n" in f"{found.candidate.configuration}\n"
    config = load(found.candidate.configuration, {}, {}, hostname="box", read_file=str)
    again = understand(first, decoder_for(topic, config), limits)
    assert again.batch is not None
    assert blindness([again]) == []


def test_the_usual_batch_needs_no_format() -> None:
    for one in samples("kor-coin-stream-2025"):
        understood = understand(one, decoder_for(one.partition.topic, CONFIG), CONFIG.input.limits)
        assert understood.batch is not None
        assert recognised([understood], candidates(one.partition.topic, CONFIG), CONFIG.input.limits) is None


def test_each_field_of_a_format_is_shown_with_its_source() -> None:
    config = load(
        """
        input:
          topics: [x.trades]
          formats:
            - topics: '^(?P<name>x)[.]trades$'
              rows: data
              feed: {region: global, exchange: {topic: name}, request_type: {key: '^(trade)-'}}
              time: {row: newest}
              row: {symbol: s, timestamp: {field: [t, ts], unit: s}, price: p}
        """,
        {},
        {},
        hostname="box",
        read_file=str,
    )
    content = b'{"data": [{"s": "A", "ts": 1760031213, "p": 1, "q": 2}]}'
    one = Record(Partition("x.trades", 0), 7, NOW_MS, content, key=b"trade-1")
    decoder = decoder_for("x.trades", config)
    understood = understand(one, decoder, config.input.limits)
    text = report(understood, decoder, recognised([understood], candidates("x.trades", config), config.input.limits))
    assert "read as   format 0 of input.formats" in text
    assert "key trade-1" in text
    assert " ".join(line(text, "exchange")) == 'exchange group `name` of the topic\'s name "x"'
    assert " ".join(line(text, "region")) == 'region constant global "global"'
    assert " ".join(line(text, "request_type")) == 'request_type key of that form "trade"'
    assert " ".join(line(text, "timestamp")).startswith("timestamp data[].t or data[].ts 1760031213000")
    assert " ".join(line(text, "price")) == "price data[].p 1.0"
    assert "not read: data[].q: 2" in text


def test_a_control_message_is_skipped() -> None:
    config = load(
        "input: {topics: [upbit-ticks], formats: [{preset: upbit, topics: upbit-ticks}]}",
        {}, {}, hostname="box", read_file=str,
    )  # fmt: skip
    one = record(b'{"status": "UP"}', topic="upbit-ticks")
    decoder = decoder_for("upbit-ticks", config)
    assert "skipped   a control message" in report(understand(one, decoder, config.input.limits), decoder, None)


def test_a_registry_that_does_not_answer_is_the_reason() -> None:
    config = load(
        f"""
        input:
          topics: [avro]
          formats:
            - topics: avro
              encoding: avro-confluent
              schema_registry: http://127.0.0.1:{free_port()}
              feed: {{region: global, exchange: x, request_type: trade}}
              row: {{symbol: s}}
        """,
        {},
        {},
        hostname="box",
        read_file=str,
    )
    one = record(b"\0\0\0\0\7abc", topic="avro")
    understood = understand(one, decoder_for("avro", config), config.input.limits)
    assert understood.rejected is not None
    assert "schema 7 is unknown: " in understood.rejected.detail


def test_check_names_the_preset_of_a_topic_and_is_content_with_it(
    broker: Broker, capfd: pytest.CaptureFixture[str]
) -> None:
    first = samples("cryptofeed")[0]
    topic = broker.create_topic(f"trades-UPBIT-{uuid.uuid4().hex[:8]}")
    broker.produce(topic, [first.value or b""] * 5)
    broker.committed("first", topic)  # where no group was ever used, reading would leave a trace
    lines = []
    for formats in ("[]", "[cryptofeed]"):
        text = f"input: {{topics: [{topic}], formats: {formats}, limits: {{feeds: 100}}}}"
        command.main(load(text, {}, {"kafka.bootstrap_servers": broker.bootstrap}, hostname="box", read_file=str))
        lines += [line for line in capfd.readouterr().out.splitlines() if " records: " in line]
    assert lines[0].startswith("warn")
    assert "all are rejected, missing_field" in lines[0]
    assert f"it looks like preset cryptofeed-trade, see `explain {topic}`" in lines[0]
    assert lines[1].startswith("ok")
    assert "read as cryptofeed: global:upbit:trade with 1 symbol (BTC-KRW); found timestamp, price" in lines[1]
