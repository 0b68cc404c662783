"""Groups of pushed metrics: what replaces what, what is refused and changes nothing, and when groups are gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.samples import Sample

from exporter.instrument import protobuf
from exporter.instrument.exposition import OPENMETRICS, TEXT, AnyFamily, render
from exporter.instrument.samples import samples
from exporter.pushes.consistency import Own
from exporter.pushes.family import Refused, Result
from exporter.pushes.page import with_groups
from exporter.pushes.series import FAILED, PUSHED
from exporter.pushes.store import Moment, PushLimits, PushStore, Size
from exporter.pushes.text_reader import read_text
from tests.support.metrics_proto import read_page

LIMITS = PushLimits(ttl_seconds=300.0, groups=100, series=1000, bytes=100_000)
UNIX = 1_760_000_000.0
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def own_families() -> list[AnyFamily]:
    """Families of a process, as the sidecar has them beside its own."""
    cpu = Metric("process_cpu_seconds", "Time.", "counter")
    cpu.add_sample("process_cpu_seconds_total", {}, 12.0)
    memory = Metric("process_resident_memory_bytes", "Memory.", "gauge")
    memory.add_sample("process_resident_memory_bytes", {}, 5.0)
    return [cpu, memory]


class Gateway:
    """A store of which tests set the time, by text bodies."""

    def __init__(self, limits: PushLimits = LIMITS) -> None:
        self.own = own_families()
        self.store = PushStore(limits, Own(each for each in self.own if isinstance(each, Metric)))
        self.seconds = 0.0

    @property
    def now(self) -> Moment:
        # The monotonic clock has a zero of its own.
        return Moment(UNIX + self.seconds, 50.0 + self.seconds)

    def push(self, text: str, *, add: bool = False, **labels: str) -> None:
        """Replace the group, or with `add` its families of the same names."""
        self.store.push({"job": "one", **labels}, read_text(text), self.now, replaces=not add)

    def refused(self, text: str, *, add: bool = False, **labels: str) -> Refused:
        """Return why a push is refused that changes nothing."""
        before = self.shown()
        with pytest.raises(Refused) as error:
            self.push(text, add=add, **labels)
        assert self.shown() == before
        return error.value

    def families(self) -> list[AnyFamily]:
        return with_groups(self.own, self.store.groups(self.now))

    def page(self) -> str:
        return render(self.families(), TEXT).decode()

    def all_samples(self) -> Iterator[Sample]:
        """What the page has of programs, in all of its formats."""
        text = list(samples(self.page()))
        list(openmetrics(render(self.families(), OPENMETRICS).decode()))
        list(read_page(b"".join(protobuf.pieces(self.families()))))
        return (sample for sample in text if "job" in sample.labels)

    def times(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        return {frozenset(each.labels.items()): each.value for each in self.all_samples() if each.name == name}

    def shown(self) -> Series:
        """The samples that were pushed, by name and labels."""
        found = [each for each in self.all_samples() if each.name not in (PUSHED, FAILED)]
        series = {(each.name, frozenset(each.labels.items())): each.value for each in found}
        assert len(series) == len(found)
        return series

    def values(self) -> dict[str, float]:
        """The samples that were pushed, by name alone."""
        return {name: value for (name, _), value in self.shown().items()}


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_a_put_replaces_the_group_and_a_post_the_families_of_its_names(gateway: Gateway) -> None:
    gateway.push("a 1\nb 2\n")
    gateway.push('b{x="y"} 3\nc 4\n', add=True)
    assert gateway.values() == {"a": 1, "b": 3, "c": 4}
    gateway.push("d 5\n")
    assert gateway.values() == {"d": 5}
    gateway.push("", add=True)
    assert gateway.values() == {"d": 5}
    gateway.push("")
    assert gateway.values() == {}
    assert len(gateway.times(PUSHED)) == 1


def test_groups_do_not_meet(gateway: Gateway) -> None:
    gateway.push("a 1\n")
    gateway.push("a 2\n", instance="i")
    gateway.push("b 3\n", instance="i")
    gateway.store.delete({"job": "one"}, gateway.now)
    gateway.store.delete({"job": "unknown"}, gateway.now)
    assert gateway.shown() == {("b", frozenset({("job", "one"), ("instance", "i")})): 3}


def test_labels_of_the_path_win_and_an_instance_is_always_there(gateway: Gateway) -> None:
    gateway.push('a{job="other",zone="x",side="buy"} 1\n', zone='é"\n\\')
    labels = {"job": "one", "zone": 'é"\n\\', "side": "buy", "instance": ""}
    assert gateway.shown() == {("a", frozenset(labels.items())): 1}
    gateway.push('b{instance="of the body"} 1\n')
    assert ("b", frozenset({("job", "one"), ("instance", "of the body")})) in gateway.shown()


def test_the_times_of_pushes_are_shown_and_those_pushed_are_not(gateway: Gateway) -> None:
    gateway.push(f"{PUSHED} 1\n# TYPE {FAILED} counter\n{FAILED} 3\na 1\n")
    gateway.seconds = 10.0
    gateway.refused("a 1 1\n")
    gateway.seconds = 20.0
    assert gateway.shown().keys() == {("a", frozenset({("job", "one"), ("instance", "")}))}
    assert gateway.times(PUSHED) == {frozenset({("job", "one"), ("instance", "")}): UNIX}
    assert gateway.times(FAILED) == {frozenset({("job", "one"), ("instance", "")}): UNIX + 10}


def test_a_group_whose_first_push_fails_has_only_the_time_of_that(gateway: Gateway) -> None:
    gateway.refused("a 1 1\n")
    labels = frozenset({("job", "one"), ("instance", "")})
    assert (gateway.times(PUSHED), gateway.times(FAILED)) == ({labels: 0}, {labels: UNIX})
    gateway.seconds = 200.0
    gateway.refused("a 1 1\n")
    gateway.seconds = 499.0
    assert gateway.times(FAILED) == {labels: UNIX + 200}
    gateway.seconds = 500.0
    assert gateway.times(FAILED) == {}


def test_groups_expire_exactly_and_only_a_success_prolongs_them(gateway: Gateway) -> None:
    gateway.push("a 1\n")
    gateway.push("a 2\n", instance="i")
    gateway.seconds = 100.0
    gateway.push("", add=True, instance="i")
    gateway.refused("a 1 1\n")
    gateway.seconds = 299.999
    assert len(gateway.shown()) == 2
    gateway.seconds = 300.0
    assert gateway.shown() == {("a", frozenset({("job", "one"), ("instance", "i")})): 2}
    gateway.push("b 1\n")
    assert gateway.values() == {"a": 2, "b": 1}
    gateway.seconds = 400.0
    assert gateway.values() == {"b": 1}


def test_a_clock_that_is_set_does_not_change_how_long_groups_stay(gateway: Gateway) -> None:
    gateway.store.push({"job": "one"}, read_text("a 1\n"), Moment(UNIX, 50.0), replaces=True)
    assert len(gateway.store.groups(Moment(UNIX + 9e6, 349.0))) == 1
    assert gateway.store.groups(Moment(UNIX - 9e6, 350.0)) == []


def test_other_limits_count_for_what_is_there(gateway: Gateway) -> None:
    gateway.push("a 1\n")
    gateway.seconds = 10.0
    gateway.store.limits = LIMITS._replace(ttl_seconds=10.0)
    assert gateway.shown() == {}
    gateway.store.limits = LIMITS._replace(ttl_seconds=11.0)
    assert gateway.values() == {"a": 1}


HISTOGRAM = '# TYPE foo histogram\nfoo_bucket{le="1"} 1\nfoo_bucket{le="+Inf"} 2\nfoo_count 2\nfoo_sum 3\n'
SUMMARY = '# TYPE foo summary\nfoo{quantile="0.5"} 1\nfoo_count 2\nfoo_sum 3\n'


@pytest.mark.parametrize(
    ("before", "text", "reason"),
    [
        ("# TYPE a counter\na 1\n", "a 1\n", "a has the type unknown, but counter where it was pushed before"),
        (HISTOGRAM, "foo 1\n", "foo has the type unknown"),
        (HISTOGRAM, SUMMARY, "foo has the type summary, but histogram"),
        (HISTOGRAM, "foo_count 1\n", "foo_count and foo collide"),
        (HISTOGRAM, "foo_bucket 1\n", "foo_bucket and foo collide"),
        (SUMMARY, "foo_sum 1\n", "foo_sum and foo collide"),
        ("foo_count 1\n", HISTOGRAM, "foo and foo_count collide"),
        ("foo_sum 1\n", SUMMARY, "foo and foo_sum collide"),
        ("a 1\n", "process_cpu_seconds_total 1\n", "process_cpu_seconds_total has the type unknown, but counter"),
        ("a 1\n", "process_cpu_seconds 1\n", "process_cpu_seconds collides with a metric of the sidecar"),
        ("a 1\n", "# TYPE process_cpu_seconds summary\nprocess_cpu_seconds_sum 1\n", "collides with a metric of"),
        ("a 1\n", "marketdata_feed_state 1\n", "marketdata_feed_state begins with marketdata_"),
        ("a 1\n", "marketdata_batches_total 1\n", "begins with marketdata_"),
    ],
)
@pytest.mark.parametrize("is_same_group", [False, True])
def test_families_that_contradict_others_are_refused(
    gateway: Gateway, before: str, text: str, reason: str, is_same_group: bool
) -> None:
    gateway.push(before)
    added: dict[str, str] = {} if is_same_group else {"instance": "i"}
    # Families of the same name are replaced, whatever type they have.
    if is_same_group and reason.startswith(("a has the type", "foo has the type")):
        gateway.push(text, add=True)
        return
    error = gateway.refused(text, add=True, **added)
    assert reason in str(error)
    assert error.result is Result.INCONSISTENT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a 1 1\n", "a has a timestamp"),
        ("a 1\na 2\n", "a has two samples with the labels {'instance': '', 'job': 'one'}"),
        ('a{x="1",y="2"} 1\na{y="2",x="1"} 1\n', "two samples"),
        ('a{x=""} 1\na 2\n', "two samples"),
        ('a{job="x"} 1\na{job="y"} 2\n', "two samples"),
        ('a{__x="y"} 1\n', "a has the label '__x'"),
        ("# TYPE a counter\na -1\n", "the counter a is -1"),
        ("# TYPE a counter\na NaN\n", "the counter a is nan"),
        ("foo_count 1\n" + HISTOGRAM.replace("foo_count 2\n", ""), "foo and foo_count collide"),
        (HISTOGRAM.replace("foo_count 2", "foo_count 3"), "the histogram foo has the count 3 and 2 in all buckets"),
        (HISTOGRAM.replace('{le="1"} 1', '{le="1"} 4'), "the buckets of the histogram foo decrease at inf"),
        (
            HISTOGRAM.replace('{le="1"}', ""),
            "foo_bucket with the labels {'instance': '', 'job': 'one'} is no sample of",
        ),
        (HISTOGRAM.replace('le="1"', 'le="x"'), "le='x', which is no number"),
        (HISTOGRAM.replace('le="1"', 'le="NaN"'), "le='NaN', which is no number"),
        (HISTOGRAM + 'foo_bucket{le="1.0"} 1\n', "foo has two samples"),
        (HISTOGRAM.replace(" 2\n", " 2.5\n"), "foo has a count of 2.5"),
        (HISTOGRAM.replace(" 2\n", " 1e99\n"), "foo has a count of 1e+99"),
        (HISTOGRAM.replace(" 1\n", " -1\n"), "foo has a count of -1"),
        (HISTOGRAM + "foo 3\n", "foo with the labels {'instance': '', 'job': 'one'} is no sample of the histogram foo"),
        ("# TYPE foo histogram\nfoo_sum 3\n", "foo has neither a count nor the bucket +Inf"),
        (SUMMARY.replace("0.5", "1.5"), "the summary foo has the quantile 1.5"),
        (SUMMARY.replace("_count 2", "_count Inf"), "foo has a count of inf"),
    ],
)
def test_pushes_that_contradict_themselves_are_refused(gateway: Gateway, text: str, reason: str) -> None:
    gateway.push("kept 1\n")
    error = gateway.refused(text)
    assert reason in str(error)
    assert error.result is Result.INCONSISTENT


@pytest.mark.parametrize(("text", "label"), [(HISTOGRAM, "le"), (SUMMARY, "quantile")])
def test_the_path_may_not_have_the_label_of_buckets_or_quantiles(gateway: Gateway, text: str, label: str) -> None:
    labels: dict[str, str] = {label: "1"}
    assert f"the path has its label {label}" in str(gateway.refused(text, add=False, **labels))
    gateway.push("a 1\n", add=False, **labels)


def test_no_two_groups_have_the_same_series(gateway: Gateway) -> None:
    gateway.push('a{instance="i"} 1\n')
    assert "another group has a with the same labels" in str(gateway.refused("a 2\n", instance="i"))
    gateway.seconds = 300.0
    gateway.push("a 2\n", instance="i")


def test_a_group_that_differs_only_in_an_empty_label_is_refused(gateway: Gateway) -> None:
    gateway.push("a 1\n")
    assert "only in empty labels" in str(gateway.refused("b 1\n", x=""))
    gateway.store.delete({"job": "one", "x": ""}, gateway.now)
    assert gateway.values() == {"a": 1}


def test_incomplete_histograms_and_summaries_are_completed(gateway: Gateway) -> None:
    gateway.push('# TYPE h histogram\nh_bucket{le="2"} 1\nh_bucket{le="1"} 1\nh_count 3\n# TYPE s summary\ns_sum 4\n')
    lines = [line for line in gateway.page().splitlines() if line.startswith(("h_", "s_"))]
    labels = 'instance="",job="one"'
    assert lines == [
        f'h_bucket{{{labels},le="1.0"}} 1.0',
        f'h_bucket{{{labels},le="2.0"}} 1.0',
        f'h_bucket{{{labels},le="+Inf"}} 3.0',
        f"h_count{{{labels}}} 3.0",
        f"h_sum{{{labels}}} 0.0",
        f"s_count{{{labels}}} 0.0",
        f"s_sum{{{labels}}} 4.0",
    ]


def test_a_family_of_the_sidecar_is_joined_with_pushed_ones_under_its_own_help(gateway: Gateway) -> None:
    gateway.push(
        "# HELP process_cpu_seconds_total Other.\n# TYPE process_cpu_seconds_total counter\n"
        "process_cpu_seconds_total 7\n"
    )
    page = gateway.page()
    assert page.count("# TYPE process_cpu_seconds_total counter") == 1
    assert "# HELP process_cpu_seconds_total Time.\n" in page
    assert "process_cpu_seconds_total 12.0\n" in page
    assert gateway.values() == {"process_cpu_seconds_total": 7}


def test_of_several_help_texts_the_first_is_shown(gateway: Gateway) -> None:
    gateway.push("# HELP a One.\na 1\n")
    gateway.push("# HELP a Two.\na 1\n", instance="i")
    assert [line for line in gateway.page().splitlines() if line.startswith("# HELP a")] == ["# HELP a One."]


def test_counters_have_one_name_in_all_formats(gateway: Gateway) -> None:
    kinds = "".join(f"# TYPE {name} counter\n{name} 1\n" for name in ("bare", "jobs_total", "both_total"))
    gateway.push(f"{kinds}# TYPE both gauge\nboth 2\n")
    names = {"bare", "jobs_total", "both_total", "both"}
    # Read line by line: prometheus_client gives every counter a name with _total.
    assert {line.partition("{")[0] for line in gateway.page().splitlines() if 'job="one"' in line} >= names
    text = render(gateway.families(), OPENMETRICS).decode()
    found = {each.name: each.type for each in openmetrics(text)}
    assert {name: found[name] for name in ("bare", "jobs", "both_total", "both")} == {
        "bare": "unknown",
        "jobs": "counter",
        "both_total": "unknown",
        "both": "gauge",
    }
    families = {each.name: each.type for each in read_page(b"".join(protobuf.pieces(gateway.families())))}
    assert {name: families[name] for name in names} == {"bare": 0, "jobs_total": 0, "both_total": 0, "both": 1}


def test_creation_times_are_left_out_with_their_metric_and_kept_without(gateway: Gateway) -> None:
    created = "".join(f"# TYPE {name}_created gauge\n{name}_created 1\n" for name in ("a", "foo", "backup"))
    gateway.push(f"# TYPE a_total counter\na_total 1\n{HISTOGRAM}{created}")
    assert {name for name in gateway.values() if name.endswith("_created")} == {"backup_created"}
    gateway.push("# TYPE backup_total counter\nbackup_total 1\n", instance="i")
    assert "backup_total" in gateway.values()
    assert "backup_created" not in gateway.values()
    gateway.push("", instance="i")
    assert "backup_created" in gateway.values()


def test_limits_are_those_of_all_groups_that_have_not_expired() -> None:
    gateway = Gateway(LIMITS._replace(groups=2, series=10))
    gateway.push("a 1\n")
    gateway.push("a 1\n", instance="i")
    error = gateway.refused("a 1\n", instance="j")
    assert (error.result, str(error)) == (
        Result.NO_ROOM,
        "there is no room: other groups have 2 groups, this one 1, and web.push.max_groups is 2",
    )
    assert len(gateway.times(FAILED)) == 2
    nine = "".join(f"b{number} 1\n" for number in range(9))
    gateway.push(nine)
    error = gateway.refused(nine + "c 1\n")
    assert (error.result, "web.push.max_series is 10" in str(error)) == (Result.NO_ROOM, True)
    error = gateway.refused(nine + "c 1\nd 1\n")
    assert (error.result, "the group has 11 series" in str(error)) == (Result.TOO_LARGE, True)
    gateway.seconds = 300.0
    gateway.push(nine + "c 1\n", instance="j")


def test_bytes_are_those_of_the_text_on_the_page() -> None:
    gateway = Gateway(LIMITS._replace(bytes=60))
    line = 'a{instance="",job="one"} 1.0\n'
    gateway.push("a 1\n")
    assert line in gateway.page()
    assert gateway.store.size(gateway.now) == Size(1, 1, len(line))
    error = gateway.refused('b{x="éééééé"} 1\n', instance="ii")
    assert (error.result, "web.push.max_bytes is 60" in str(error)) == (Result.NO_ROOM, True)
    gateway.refused('b{x="' + "é" * 20 + '"} 1\n', add=True)


def test_what_was_read_stays_as_it_was(gateway: Gateway) -> None:
    gateway.push("a 1\n")
    before = gateway.store.groups(gateway.now)
    gateway.push("b 1\n")
    gateway.store.delete({"job": "one"}, gateway.now)
    assert [list(group.families) for group in before] == [["a"]]


# A model of a Pushgateway with expiry: {labels: ({name: {labels: value}}, when)}.
NAMES = ("a", "b", "a_count", "foo")
BODIES = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(
        st.sampled_from(["gauge", "counter", "untyped"]),
        st.dictionaries(st.sampled_from(["", "x", 'é\\\n"']), st.integers(0, 9).map(float), min_size=1),
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("PUT"), st.sampled_from(["", "i", "j"]), BODIES),
        st.tuples(st.just("POST"), st.sampled_from(["", "i", "j"]), BODIES),
        st.tuples(st.just("DELETE"), st.sampled_from(["", "i", "j"]), st.just({})),
        st.tuples(st.just("WAIT"), st.sampled_from(["", "i", "j"]), st.just({})),
    ),
    max_size=12,
)


def body(families: Mapping[str, Any]) -> str:
    escape = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
    return "".join(
        f"# TYPE {name} {kind}\n"
        + "".join(f'{name}{{v="{value.translate(escape)}"}} {number}\n' for value, number in values.items())
        for name, (kind, values) in families.items()
    )


@given(steps=STEPS)
def test_any_sequence_of_pushes_equals_a_simple_model(steps: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    gateway = Gateway()
    model: dict[str, tuple[dict[str, Any], float]] = {}
    for method, instance, families in steps:
        if method == "WAIT":
            gateway.seconds += 100.0
        model = {key: group for key, group in model.items() if group[1] + 300 > gateway.seconds}
        labels = {"instance": instance} if instance else {}
        if method == "DELETE":
            gateway.store.delete({"job": "one", **labels}, gateway.now)
            model.pop(instance, None)
        elif method != "WAIT":
            others = {
                name: kind for key, (some, _) in model.items() if key != instance for name, (kind, _) in some.items()
            }
            if all(others.get(name, kind) == kind for name, (kind, _) in families.items()):
                gateway.push(body(families), add=method == "POST", **labels)
                kept = model.get(instance, ({}, 0.0))[0] if method == "POST" else {}
                model[instance] = ({**kept, **families}, gateway.seconds)
            else:
                gateway.refused(body(families), add=method == "POST", **labels)
        assert gateway.shown() == {
            # As prometheus_client reads it.
            (
                f"{name}_total" * (kind == "counter") or name,
                frozenset({("job", "one"), ("instance", key), ("v", value)}),
            ): number
            for key, (some, _) in model.items()
            for name, (kind, values) in some.items()
            for value, number in values.items()
        }


def test_the_default_registry_of_a_program_fits_to_the_sidecars() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    store = PushStore(LIMITS, Own(registry.collect()))
    own = list(registry.collect())
    store.push({"job": "one"}, read_text(render(own, TEXT).decode()), Moment(0, 0), replaces=True)
    page = render(with_groups(own, store.groups(Moment(1, 1))), TEXT).decode()
    assert (
        len([each for each in samples(page) if each.labels.get("job")])
        == len(list(samples(render(own, TEXT).decode()))) + 2
    )
