"""The command line of load tests: what each flag means, and what is refused before anything is sent."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.config.loader import ConfigError
from exporter.loadtest.run_log import RunLog
from exporter.loadtest.settings import PROFILES, Limits
from exporter.loadtest.target import TargetError
from exporter.tools.loadtest import arguments
from exporter.tools.loadtest.arguments import Plan


def plan(*words: str) -> Plan:
    parser = argparse.ArgumentParser()
    arguments.add(parser)
    return arguments.plan(parser.parse_args(words))


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_its_numbers_until_flags_replace_them(name: str) -> None:
    profile, settings = PROFILES[name], plan(name).settings
    assert (settings.users, settings.spawn_rate, settings.seconds) == (
        profile.users, profile.spawn_rate, profile.seconds
    )  # fmt: skip
    other = plan(name, "--users", "7", "--duration", "90s").settings
    assert (other.users, other.seconds) == (7, 90.0)


def test_users_begin_at_the_rate_that_is_given() -> None:
    assert plan("load", "--spawn-rate", "0.5").settings.spawn_rate == 0.5


def test_each_target_figure_has_a_flag() -> None:
    flags = "--max-mean 1 --max-p95 2 --min-rate 3 --max-errors 4 --min-availability 5 --max-lost 6"
    limits = Limits(mean_ms=1, p95_ms=2, per_second=3, errors_percent=4, availability_percent=5, lost=6)
    assert plan(*flags.split()).settings.limits == limits


def test_all_are_tested_and_redis_is_left_out_where_there_is_none() -> None:
    found = plan()
    assert (found.settings.targets, found.left_out) == (("http", "kafka"), {"redis": "there is none: --redis-url"})
    assert plan("--redis-url", "redis://r:1/0").settings.targets == ("http", "kafka", "redis")
    assert plan("--embedded").left_out == {"redis": "--embedded has no Redis"}
    assert plan("--target", "kafka").settings.targets == ("kafka",)
    assert plan("stress").settings.targets == ("kafka",)
    assert plan("stress", "--target", "http").settings.targets == ("http",)


def test_addresses_are_those_of_the_configuration_unless_flags_say_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yml"
    lines = (
        "kafka: {bootstrap_servers: 'k:1'}",
        "web: {listen_address: ':9', telemetry_path: /m}",
        "output: {topic: t}",
    )
    file.write_text("\n".join(lines))
    found = plan("--config.file", str(file))
    assert (found.settings.url, found.settings.metrics_path) == ("http://localhost:9", "/m")
    assert (found.config.kafka.bootstrap_servers, found.config.output.topic) == ("k:1", "t")
    given = plan("--config.file", str(file), "--bootstrap-servers", "j:2", "--url", "https://s:3/n")
    assert (given.settings.url, given.settings.metrics_path) == ("https://s:3", "/n")
    assert given.config.kafka.bootstrap_servers == "j:2"
    assert plan("--target", "kafka").settings.url is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--target redis", "redis: there is none: --redis-url"),
        ("--target redis --embedded", "redis: --embedded has no Redis"),
        ("stress --target all", "stress raises the rate of one target"),
        ("stress --target http --target kafka", "stress raises the rate of one target"),
        ("--url http://user:word@h:1", "--url has a user"),
        ("--embedded --topic t", "--topic has no effect with --embedded"),
        ("--target kafka --web", "--web has no effect without the target http"),
        ("--target http --kafka-messages 9", "--kafka-messages has no effect without the target kafka"),
        ("--target http --rate 9", "--rate has no effect without the target kafka: users make --user-rate"),
        ("--step 5s", "--step has no effect but in stress"),
        ("stress --kafka-messages 5", "--kafka-messages has no effect in stress"),
        ("--allow-existing", "--allow-existing has no effect without --topic"),
        ("--web-port 9000", "--web-port has no effect without --web"),
        ("--target http --batch-size 5", "--batch-size has no effect without the target kafka"),
        ("--target http --max-lost 5", "--max-lost has no effect without the target kafka"),
        ("--target kafka --redis-url redis://r:1", "--redis-url has no effect without the target redis"),
        ("--target redis --redis-url redis://r:1 --url http://h:1", "--url has no effect without the targets http and"),
        ("--target kafka --rate 9 --user-rate 5", "--user-rate has no effect with --rate"),
        ("stress --spawn-rate 5", "--spawn-rate has no effect in stress"),
        ("stress --max-mean 5", "--max-mean has no effect in stress"),
        ("stress --rate 10 --users 5", "--users has no effect with --rate"),
        ("stress --target http --rate 10 --user-rate 5", "--user-rate has no effect with --rate"),
        ("stress --duration 10s", r"a step takes 20 s \(--step\) and the whole test 10 s \(--duration\)"),
        ("--process a=1 --process b=2 --process a=3", "--process a is given twice"),
    ],
)
def test_what_cannot_be_tested_is_refused_with_the_reason(words: str, reason: str) -> None:
    with pytest.raises(TargetError, match=reason):
        plan(*words.split())


@pytest.mark.parametrize(
    "words",
    [
        "normal", "--users 0", "--users x", "--rate 0", "--rate nan", "--duration soon", "--step 0s",
        "--process sidecar", "--target all,kafka", "--max-lost -1", "--web-port 65536", "--max-errors 101",
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan(*words.split())
    assert words.split()[-1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--url ftp://user:word@h:1", "argument --url: it must begin with http:// or https://"),
        ("--metrics-address h", "argument --metrics-address: a port from 0 to 65535 must follow the last colon"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_reason_and_without_its_password(
    words: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        plan(*words.split())
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(reason)
    assert "word" not in line


def test_a_configuration_that_is_invalid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        plan("--config.file", str(tmp_path / "none.yml"))


def test_a_mistake_in_an_address_is_told_with_the_option_of_this_command() -> None:
    with pytest.raises(ConfigError, match=r"redis.url: .* \(--redis-url\)$"):
        plan("--redis-url", "nonsense")


# Apart, as the command takes over the signals of its process.
COMMANDS = """
import sys
from exporter.cli import main
for line in sys.stdin:
    print("exit", main(["loadtest", *line.split()]), file=sys.stderr)
"""
MISTAKES = {
    "--compare none.json": "none.json: No such file or directory",
    "--compare text": "--compare text: no results of a load test",
    "--report-folder text/reports": "text/reports: Not a directory",
    "--process sidecar=99999999": "--process sidecar=99999999: there is no such process",
    "--target http --url http://nothing.invalid:1": "nothing.invalid:1/metrics does not answer: Failed to resolve",
    "--target kafka --bootstrap-servers 127.0.0.1:1": "Connection refused",
    "--metrics-address 192.0.2.1:9 --embedded --target kafka": "metrics cannot be served at 192.0.2.1",
}


def test_what_cannot_be_read_written_or_reached_is_told_in_a_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no results")
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input="\n".join(MISTAKES),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    exits = [number for number, line in enumerate(lines) if line.startswith("exit")]
    assert [lines[number] for number in exits] == ["exit 2"] * len(MISTAKES)
    for number, reason in zip(exits, MISTAKES.values(), strict=True):
        assert reason in lines[number - 1]
        assert "HTTPConnection" not in lines[number - 1]
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".jsonl"}


def test_passwords_of_the_sidecar_are_not_among_the_settings_of_a_report(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yml"
    file.write_text("web: {client: {username: prometheus, password: secret-word}}")
    settings = plan("--config.file", str(file), "--target", "http").settings
    assert settings.client.password == "secret-word"
    assert "secret-word" not in str(settings.shown())
    assert settings.shown()["users"] == 5


def test_a_line_of_the_log_has_time_level_event_and_fields(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log")
    log.write("error", "ended", reason="disk full")
    log.close()
    line = json.loads((tmp_path / "log").read_text())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "error", "event": "ended", "reason": "disk full"}
