"""What listens in a broker's place and drips, never ends or talks nonsense holds up nothing for long."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.peers import KAFKA_TALKS, Peer, Talk
from tests.support.sidecar import PROGRAM, Sidecar
from tests.support.waiting import eventually

# Far above what it takes, and far below for ever.
# Each starts programs that wait for such a peer to its end.
pytestmark = pytest.mark.hostile

END_SECONDS = 90
any_talk = pytest.mark.parametrize("talk", KAFKA_TALKS.values(), ids=KAFKA_TALKS.keys())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    return subprocess.run([str(PROGRAM), *arguments], capture_output=True, text=True, timeout=END_SECONDS, check=False)


@any_talk
def test_check_says_that_it_is_no_broker(talk: Talk) -> None:
    with Peer(talk) as peer:
        done = run("check", f"--kafka.bootstrap-servers={peer.place}", "--web.listen-address=127.0.0.1:0")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"fail  kafka.bootstrap_servers: {peer.place}" in done.stdout


@any_talk
def test_an_audit_says_in_one_line_that_it_is_no_broker(talk: Talk) -> None:
    with Peer(talk) as peer:
        done = run("audit", f"--bootstrap-servers={peer.place}", "--timeout=2")
    assert done.returncode == 2
    assert done.stderr.startswith("audit: Kafka: ")
    assert len(done.stderr.splitlines()) == 1


@any_talk
def test_a_sidecar_serves_meanwhile_and_ends_by_itself_when_asked_to(talk: Talk, tmp_path: Path) -> None:
    """With 1 where librdkafka never comes to the end of what is sent, and its clients therefore not to theirs."""
    with Peer(talk) as peer:
        sidecar = Sidecar(tmp_path, {"kafka.bootstrap_servers": peer.place}).start()
        eventually(lambda: peer.asked > 0, 20)
        assert sidecar.get("/-/healthy").ok
        sidecar.signal(15)
        eventually(lambda: sidecar.exit_code() is not None, END_SECONDS)
        assert sidecar.exit_code() in (0, 1)
        sidecar.kill()
