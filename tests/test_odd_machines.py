"""A machine whose clock is wrong, or whose /proc is hidden, costs what they would tell, and nothing else."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from exporter.metrics.process import OwnProcess
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.sidecar import PROGRAM, Deployment, Sidecar
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[1]
YEAR = 365 * 86_400

# The clock.


class Shifted(Sidecar):
    """Its clock is off."""

    def command(self) -> list[str]:
        """See Part."""
        _, *arguments = super().command()
        return [sys.executable, "-m", "tests.support.shifted", *arguments]


def test_a_sidecar_starts_in_1970_and_goes_on_whatever_its_clock_does(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is counted and published once, nothing is logged as a mistake, and no duration is negative."""
    offset = tmp_path / "offset"
    monkeypatch.setenv("CLOCK_OFFSET", str(offset))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    now = int(time.time())
    offset.write_text(str(5 - now))
    sidecar = Shifted(tmp_path / "shifted", deployment.sidecar(output__summary_interval=1).settings).start()
    for round_, seconds in enumerate((5 - now, 0, 30 * YEAR, -3 * YEAR, 0), 1):
        offset.write_text(str(seconds))
        deployment.traffic.write(10)
        eventually(lambda all_of_them=10 * round_: sidecar.batches() == all_of_them, 30)  # type: ignore[misc]
        for path in ("/", "/-/ready", "/api/v1/feeds", "/api/v1/symbols", "/config"):
            assert sidecar.get(path).ok, path
        values = [
            float(line.rpartition(" ")[2]) for line in sidecar.get("/metrics").text.splitlines() if line[0] != "#"
        ]
        assert min(values) >= 0
    deployment.eventually_committed()
    sidecar.stop()
    deployment.assert_told_once()
    assert "level=error" not in sidecar.log
    assert "Traceback" not in sidecar.log


# Descriptors.


@pytest.mark.hostile
def test_a_sidecar_without_descriptors_says_so_once_and_goes_on_when_it_has_some(tmp_path: Path) -> None:
    """Neither brokers nor Redis can be reached meanwhile, and no file that it needs is read only then."""
    broker = Broker(tmp_path / "broker").start()
    try:
        with Deployment(broker, tmp_path) as deployment:
            deployment.create_outputs()
            broker.stop()
            sidecar = deployment.sidecar(output__encoding="avro", redis__url="redis://127.0.0.1:1").start()
            before = resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            broker.start()
            deployment.traffic.write(30)
            eventually(lambda: "events could not be published" in sidecar.log, 60)
            for source in ("kafka", "store"):
                said = [line for line in sidecar.log.splitlines() if f"exporter.{source} " in line]
                assert len([line for line in said if "Too many open files" in line]) == 1, said
            eventually(lambda: "ulimit -n" in sidecar.log)
            resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, before)
            deployment.eventually_committed()
            assert sidecar.batches() == 30
            sidecar.stop()
    finally:
        broker.kill()


# /proc.

STAT = "1 (x) S " + " ".join(["1"] * 49)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"stat": ""},
        {"stat": "btime"},
        {"stat": "btime \nbtime x"},
        {"stat": "btime 5"},
        {"stat": "btime 5", "self/stat": ""},
        {"stat": "btime 5", "self/stat": "1 (x) S"},
        {"stat": "btime 5", "self/stat": STAT, "self/limits": "", "self/fd/0": ""},
        {"stat": "btime 5", "self/stat": STAT, "self/limits": "Max open files unlimited unlimited", "self/fd/0": ""},
    ],
    ids=str,
)
def test_a_proc_that_is_not_as_usual_is_done_without(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    registry = CollectorRegistry()
    OwnProcess(proc=str(tmp_path), registry=registry)
    assert list(registry.collect()) == []


def test_what_proc_says_as_usual_is_shown(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    OwnProcess(registry=registry)
    assert registry.get_sample_value("process_open_fds")


HIDDEN = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]


@pytest.mark.skipif(
    subprocess.run([*HIDDEN, "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not make namespaces",
)
def test_a_sidecar_without_proc_serves_all_the_rest(deployment: Deployment, tmp_path: Path) -> None:
    class Hidden(Sidecar):
        def command(self) -> list[str]:
            return [*HIDDEN, *super().command()]

    sidecar = Hidden(tmp_path / "hidden", deployment.sidecar().settings).start()
    deployment.traffic.write(10)
    eventually(lambda: sidecar.batches() == 10, 30)
    assert "\nprocess_" not in sidecar.get("/metrics").text
    sidecar.stop()
    for command in (["check"], ["audit", "--timeout=1"], ["healthcheck"]):
        address = f"127.0.0.1:{free_port()}"
        given = [f"--{'bootstrap-servers' if command[0] == 'audit' else 'web.listen-address'}={address}"]
        config = f"--config.file={sidecar.directory / 'config.yml'}"
        done = subprocess.run(
            [*HIDDEN, str(PROGRAM), *command, *given, config], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in (0, 1, 2), done
        assert "Traceback" not in done.stderr
