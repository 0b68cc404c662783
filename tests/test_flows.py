"""Which requests look as if they were those of one client, and what is rare about them."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.flows import BASE, HEADS, SHAPES, Flow, FlowCounts, flow_of, hello_flow, parts_of
from exporter.web.heads import HEAD_BYTES_MAX

PROMETHEUS = (
    b"GET /metrics HTTP/1.1\r\nHost: sidecar:8000\r\nUser-Agent: Prometheus/3.5.0\r\n"
    b"Accept: application/openmetrics-text\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
)


def hello(ciphers: str = "DEFAULT") -> bytes:
    """The first message of a new client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(ciphers)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="x").do_handshake()
    return outgoing.read()


NUMBERS = st.sampled_from([0, 1, BASE, BASE * BASE, HEADS - 1])
FLOWS = st.builds(Flow, st.sampled_from("ab"), NUMBERS, NUMBERS)


@pytest.mark.parametrize(
    ("other", "has_shape"),
    [
        (PROMETHEUS.replace(b": 10\r", b": 11\r"), True),
        (PROMETHEUS.replace(b"/metrics ", b"/metrics?name[]=up "), True),
        (PROMETHEUS.replace(b"/metrics ", b"/absent "), False),
        (PROMETHEUS.replace(b"GET", b"HEAD"), False),
        (PROMETHEUS.replace(b"User-Agent", b"X-Agent"), False),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", False),
    ],
)
def test_shapes_are_of_paths_and_names_and_heads_of_everything(
    monkeypatch: pytest.MonkeyPatch, other: bytes, has_shape: bool
) -> None:
    """Without hashes that happen to share a remainder."""
    for name in ("SHAPES", "HEADS"):
        monkeypatch.setattr(f"exporter.web.flows.{name}", 1 << 62)
    one, another = flow_of("a", PROMETHEUS), flow_of("a", other)
    assert (one.shape == another.shape, one.head == another.head) == (has_shape, False)


def test_first_messages_of_tls_have_the_shape_of_their_cipher_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bytes and keys differ in each; one that was sent again differs in nothing."""
    for name in ("SHAPES", "HEADS"):
        monkeypatch.setattr(f"exporter.web.flows.{name}", 1 << 62)
    first, second = (hello_flow("a", hello()) for _ in range(2))
    other = hello_flow("a", hello("ECDHE-ECDSA-AES128-GCM-SHA256"))
    again = hello()
    assert (first.shape == second.shape, first.head == second.head, first.shape == other.shape) == (True, False, False)
    assert hello_flow("a", again) == hello_flow("a", again)


def test_a_body_does_not_change_the_flow() -> None:
    assert flow_of("a", PROMETHEUS) == flow_of("a", PROMETHEUS + b"body: 1\r\n\r\n")


@given(st.binary(max_size=HEAD_BYTES_MAX), st.sampled_from([flow_of, hello_flow]))
def test_anything_has_a_flow_of_its_network(received: bytes, of: Callable[[str, bytes], Flow]) -> None:
    flow = of("a", received)
    assert flow == of("a", received)
    assert (flow.network, flow.shape in range(SHAPES), flow.head in range(HEADS)) == ("a", True, True)


@pytest.mark.parametrize(("number", "magnitude"), [(0, 0), (1, 1), (3, 1), (4, 2), (15, 2), (16, 3), (64, 4)])
def test_magnitudes_are_of_the_rarest_part(number: int, magnitude: int) -> None:
    counts = FlowCounts()
    for at in range(100):
        counts.add(Flow("a", 1, 1 if at < number else 2))
    assert counts.magnitude(Flow("a", 1, 1)) == magnitude


@given(st.lists(FLOWS), FLOWS)
def test_counts_are_of_each_part_of_a_flow(flows: list[Flow], flow: Flow) -> None:
    counts = FlowCounts()
    for each in flows:
        counts.add(each)
    numbers = [counts.count(part) for part in parts_of(flow)]
    assert numbers == [sum(part in parts_of(each) for each in flows) for part in parts_of(flow)]


@given(FLOWS, FLOWS)
def test_flows_with_the_same_parts_are_the_same(one: Flow, other: Flow) -> None:
    assert (parts_of(one) == parts_of(other)) is (one == other)


@given(st.lists(FLOWS))
def test_what_was_added_and_removed_leaves_nothing(flows: list[Flow]) -> None:
    counts = FlowCounts()
    for flow in flows:
        counts.add(flow)
    for flow in flows:
        counts.remove(flow)
    assert [*counts._parts] == []
