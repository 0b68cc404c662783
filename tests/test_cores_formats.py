"""Both cores read records of formats alike, to the bit: those of the presets, made-up ones, and records with faults."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.config.loader import ConfigError
from exporter.config.schema import Limits
from exporter.core import is_installed, native
from exporter.decoding.formats.formats import Formats
from exporter.decoding.json_decoder import Decoder
from exporter.model import Record
from tests.support.cores import mutated, outcome
from tests.support.formats import configured, record, samples
from tests.support.missing import missing
from tests.test_cores import NOW_MS, PARTITIONS, Arrived, assert_equal
from tests.test_presets import FORMATS

LIMITS = Limits(messages=6, record_bytes=3000, depth=6)
SEED = 20_261_129
MILLISECONDS = 1_760_031_213_693


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Skip where the native core is not built."""
    if not is_installed():
        missing("the native core", "it was not built: install cargo, then `make install`")


def readers(one: object, limits: Limits = LIMITS) -> Sequence[Formats]:
    """Return what reads a format by the native core, and by Python alone."""
    formats = configured(one).input.formats
    return [Formats(formats, limits, Decoder(limits), core=core) for core in (native("auto"), None)]


def assert_same(found: Sequence[Formats], one: Record) -> None:
    """Compare what both make of a record."""
    ours, reference = (outcome(reader, one) for reader in found)
    assert repr(ours) == repr(reference), one.value


def valued(one: Record, value: bytes) -> Record:
    """Return the record with another value."""
    return msgspec.structs.replace(one, value=value)


def is_native(reader: Formats, one: Record) -> bool:
    return type(reader.read(one)).__module__ == "exporter.core._native"


@pytest.mark.parametrize("name", FORMATS)
def test_records_of_each_preset_are_read_alike(name: str) -> None:
    found = readers(FORMATS[name], Limits())
    for one in samples(name):
        assert_same(found, one)


@pytest.mark.parametrize("name", FORMATS)
def test_the_native_core_reads_all_batches_of_a_preset(name: str) -> None:
    """Else the comparison would be one of Python with itself; control messages have no rows."""
    ours, reference = readers(FORMATS[name], Limits())
    batches = [one for one in samples(name) if reference.read(one) is not None]
    assert batches
    assert [one.value for one in batches if not is_native(ours, one)] == []


@pytest.mark.parametrize("name", FORMATS)
def test_records_of_a_preset_with_faults_at_random_are_read_alike(name: str) -> None:
    """The same faults in each run."""
    random_, found = random.Random(SEED), readers(FORMATS[name])
    kept = samples(name)
    for number in range(3000):
        one = kept[number % len(kept)]
        assert_same(found, valued(one, mutated(one.value or b"", random_)))


@pytest.mark.parametrize("name", FORMATS)
def test_histories_of_a_preset_give_the_same(name: str) -> None:
    """From the records to the metrics, with repeated ones and some with faults."""
    random_, values = random.Random(SEED), [one.value or b"" for one in samples(name)]
    some = [value if random_.random() < 0.8 else mutated(value, random_) for value in values * 30]
    arrived = [Arrived(value, n % 3, NOW_MS + 20 * n, NOW_MS + 20 * n + 3) for n, value in enumerate(some)]
    for one in configured(FORMATS[name]).input.formats:
        assert_equal(arrived, formats=[msgspec.structs.replace(one, topics=(PARTITIONS[0].topic,))])


# Made-up formats, and records that fit them more or less.

PATHS = ["a", "b", "c", "x.a", "x.b", "x.y.z"]
NUMBERS = st.sampled_from([0, 1, 1.5, 176_695_000.0, 0.0007809, 1e-8, 12345678901234567890, -1, 1e300, 0.1 + 0.2])
TIMES = st.sampled_from([
    MILLISECONDS, MILLISECONDS / 1000, MILLISECONDS * 1000 + 999, MILLISECONDS * 10**6 + 999_999, 1_760_031_213,
    1_760_031_213.0005, 0, 0.0, -5, 2**53, 2**63 - 1, 2**63, 2**70, 1e300, "2025-10-09T17:33:33.693Z",
    "2025-10-09T17:33:33.6939999+09:00", "2024-02-29T00:00:00-00:30", "2025-10-09 17:33:33", "1969-12-31T23:59:59Z",
    "2025-02-29T00:00:00Z", "1760031213693", "1760031213.693", "soon",
])  # fmt: skip
TEXTS = st.sampled_from(["upbit", "UPBIT", "trade", "ticker", "x", "", "비트", "Straße", "é\n", "null", "5"])
SIDES = st.sampled_from([
    [[101, 2]], [], [[]], {"101.5": 2, "102": 1}, {}, 101.5, "101.5", [{"price": 1, "qty": "3"}], [{"price": 1}],
    [{"amount": 1, "more": [1], "price": "2"}], "x", [1], [[["a"]]], True, {"a": {"b": 1}},
])  # fmt: skip
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, [], {}, [1, {"a": None}], "1.5", "1,000", " 7 ", "nan", "-0", "1e3", "01"]
)
ANY_VALUE = st.one_of(NUMBERS, TIMES, TEXTS, SIDES, ODD)
UNITS = st.sampled_from(["s", "ms", "us", "ns", "iso8601"])
SOME_PATHS = st.one_of(st.sampled_from(PATHS), st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True))


def word(paths: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    more: dict[str, Any] = {
        "case": st.sampled_from(["lower", "upper"]),
        "map": st.just({"x": "trade", "UPBIT": "y"}),
        "default": st.just("ticker"),
    }
    places = [{"field": paths}, {"topic": st.just("g")}, {"key": st.just("^k-(.+)")}, {"header": st.just("h")}]
    return st.one_of(st.just({"constant": "trade"}), *(st.fixed_dictionaries(place, optional=more) for place in places))


ONLY = st.sampled_from(["trade", ["ticker", "trade"], "other"])
VALUE = st.one_of(SOME_PATHS, st.fixed_dictionaries({"field": SOME_PATHS, "only": ONLY}))
STAMP = st.fixed_dictionaries({"field": SOME_PATHS, "unit": UNITS}, optional={"only": ONLY})
LEVEL_PATHS: dict[str, st.SearchStrategy[Any]] = {
    "asks": st.sampled_from(["l.a", ["l.b", "m"]]),
    "bids": st.just("n"),
    "units": st.just("u"),
}
ROW = st.fixed_dictionaries(
    {"symbol": st.one_of(st.sampled_from(["s", "x.s"]), word(st.sampled_from(["s", ["s", "x.s"]])))},
    optional={
        "timestamp": STAMP,
        **dict.fromkeys(("last", "high", "low", "price"), VALUE),
        **LEVEL_PATHS,
    },
)
WORDS = word(st.sampled_from(["e", "f", ["e", "f"], "x.e"]))
MADE_UP = st.fixed_dictionaries(
    {
        "topics": st.just("^t-(?P<g>.*)"),
        "feed": st.fixed_dictionaries({"region": WORDS, "exchange": WORDS, "request_type": WORDS}),
        "row": ROW,
    },
    optional={
        "rows": st.sampled_from(["r", "q.r", "[]"]),
        "numbers": st.just("text"),
        "skip": st.sampled_from([{"e": "x"}, {"k": "*"}, {"f": ["trade", "null", "1"]}]),
        "time": st.one_of(
            st.fixed_dictionaries({"field": st.sampled_from(["t", ["t", "x.t"]]), "unit": UNITS}),
            st.just({"row": "newest"}),
        ),
        "batch_size": st.just("n_rows"),
    },
)
POSITIONS = ["s", "a", "b", "n", "u"]
OF_ARRAYS = st.fixed_dictionaries({
    "topics": st.just("^t-(?P<g>.*)"),
    "array": st.just(POSITIONS),
    "rows": st.sampled_from(["r", "q.r", "[]"]),
    "feed": st.just({"region": "a", "exchange": "b", "request_type": {"topic": "g"}}),
    "row": st.just({"symbol": "s", "timestamp": {"field": "a", "unit": "s"}, "last": "b", "bids": "n", "units": "u"}),
})  # fmt: skip
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("a", "b", "c", "z", "t"), NUMBERS | TIMES),
    **dict.fromkeys(("s", "e", "f", "k"), TEXTS),
    **dict.fromkeys(("m", "n", "u"), SIDES),
}


def fields(*names: str) -> st.SearchStrategy[Any]:
    """Return objects that have some of these fields, mostly of the right kind."""
    mostly = {name: LEAVES[name] | LEAVES[name] | LEAVES[name] | ANY_VALUE for name in names}
    needed = {name: LEAVES[name] | mostly[name] for name in names if name in "set"}
    return st.fixed_dictionaries(needed, optional={name: mostly[name] for name in names if name not in needed})


NESTED = st.one_of(
    st.none(),
    ANY_VALUE,
    st.tuples(fields("a", "b", "s", "e", "t"), fields("z")).map(lambda two: {**two[0], "y": two[1]}),
)
LEVELS = st.fixed_dictionaries({}, optional={"a": SIDES, "b": SIDES})
OBJECTS = st.tuples(fields(*LEAVES), NESTED, LEVELS).map(lambda three: {**three[0], "x": three[1], "l": three[2]})
ARRAYS = st.tuples(*(LEAVES[name] | ANY_VALUE for name in POSITIONS), ANY_VALUE).map(list) | st.lists(ANY_VALUE)
ROWS = st.one_of(st.lists(OBJECTS, max_size=7), st.lists(OBJECTS | ARRAYS, max_size=7), st.lists(ARRAYS, max_size=4))
RECORDS = st.tuples(OBJECTS, ROWS, st.sampled_from([0, 1, 2, None, "1", 1.5])).map(
    lambda three: {"n_rows": three[2], **three[0], "r": three[1], "q": {"r": three[1]}}
)


def written(value: Any, is_list: bool, random_: random.Random) -> bytes:
    """Return a record as some collector writes it: fields in any order, with blanks or without."""
    value = value["r"] if is_list else dict(random_.sample(list(value.items()), len(value)))
    return json.dumps(value, indent=random_.choice([None, 1]), ensure_ascii=random_.random() < 0.3).encode()


@settings(max_examples=80)
@given(
    one=MADE_UP | MADE_UP | MADE_UP | OF_ARRAYS,
    values=st.lists(RECORDS, min_size=1, max_size=6),
    seed=st.integers(0, 9),
)
def test_records_of_made_up_formats_are_read_alike(one: dict[str, Any], values: list[Any], seed: int) -> None:
    try:
        found = readers(one)
    except ConfigError:
        assume(False)
    random_ = random.Random(seed)
    for value in values:
        body = written(value, one.get("rows") == "[]", random_)
        headers = random_.choice([{}, {"h": "ticker"}])
        sent = record(body, "t-UPBIT", random_.choice([None, b"k-x", b"other"]), **headers)
        assert_same(found, sent)
        assert_same(found, valued(sent, mutated(body, random_)))


@pytest.fixture(scope="module")
def preset_readers() -> dict[str, Sequence[Formats]]:
    """What reads the formats of each preset."""
    return {name: readers(one) for name, one in FORMATS.items()}


@settings(max_examples=80)
@given(value=st.binary(max_size=60), name=st.sampled_from(list(FORMATS)))
def test_bytes_at_random_are_read_alike(preset_readers: dict[str, Any], value: bytes, name: str) -> None:
    assert_same(preset_readers[name], valued(samples(name)[0], value))
