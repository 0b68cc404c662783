"""Members of a `MessageConsumer`'s group under faults, and what became of the events that kept coming."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from confluent_kafka import KafkaException

from tests.chaos.brokers import CREDENTIALS, Brokers
from tests.chaos.members import FETCH, GROUPS, MOST_MEMBERS, Members
from tests.chaos.trial import Plan, Report, endure, trial
from tests.support.background import repeating
from tests.support.cluster import Record
from tests.support.ingesting import FAILING, GROUP, TOPIC, IngestingService
from tests.support.ingestion import EXAMPLES
from tests.support.waiting import eventually

PARTITIONS = 6
CODES = ("USD", "EUR", "JPY", "CNH", "GBP", "CHF", "AUD", "CAD")
WRITE_ROUNDS, WRITE_SECONDS = 5, 0.1
# Each of so many rounds has an event that no handler takes, and a record that is no event.
POISON_ROUNDS = 10
RECOVERY_SECONDS = 60.0
# Longer than offsets need to be committed: a kill meets events that must not have been.
SLOW_SECONDS = 0.2

Place = tuple[int, int]


class Consumers(Members[IngestingService]):
    """Services in one group, and rates that keep coming; `file` has what `tests.support.ingesting` writes down."""

    def __init__(self, brokers: Brokers, directory: Path, protocol: str, seed: int) -> None:
        super().__init__(brokers, seed)
        self.prefix = f"chaos-{seed}."
        self.file = directory / "handled"
        self.topic = brokers.create_topic(self.prefix + TOPIC, PARTITIONS)
        self.letters = brokers.create_topic(f"{self.topic}.dead_letter")
        settings = {
            "kafka.properties": CREDENTIALS,
            "kafka.consumer_properties": FETCH | GROUPS[protocol],
            "output.commit_interval": "50ms",
        }
        self._down = [
            IngestingService(
                directory / f"member-{number}", brokers.proxied, self.prefix, self.file, settings, SLOW_SECONDS
            )
            for number in range(MOST_MEMBERS)
        ]
        self._numbers = count(1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Two members run within this."""
        try:
            self.scale(2)
            yield
        finally:
            for member in [*self.up, *self._down]:
                member.kill()

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Rates keep coming within this, some hundred a second; what lies in the topic is what was written."""

        def write() -> None:
            with suppress(KafkaException, AssertionError):  # the brokers are away
                self.brokers.produce(self.topic, [each for _ in range(WRITE_ROUNDS) for each in self._round()])

        with repeating(write, WRITE_SECONDS):
            yield

    def _round(self) -> Iterator[Record]:
        number = next(self._numbers)
        codes = (*CODES, FAILING) if number % POISON_ROUNDS == 0 else CODES
        for code in codes:
            rate = EXAMPLES[TOPIC] | {"currency_code": code, "deal_base_rate": number}
            yield Record(json.dumps(rate).encode(), code.encode())
        if number % POISON_ROUNDS == 0:
            yield Record(b"no event", self.random.choice(CODES).encode())

    def input(self) -> Written:
        """What lies in the topic."""
        records = eventually(self._read, RECOVERY_SECONDS, "the brokers do not tell what there is")
        return Written(records)

    def _read(self) -> list[Record]:
        with suppress(KafkaException, AssertionError):  # a leader is on its way
            return self.brokers.read_all(self.topic)
        return []

    def handled(self) -> dict[str, list[int]]:
        """The rates of each currency whose handler returned, in the order in which they did."""
        found = defaultdict[str, list[int]](list)
        for line in self.file.read_text().splitlines() if self.file.exists() else ():
            if line.startswith("end "):
                found[line.split()[1]].append(int(line.split()[2]))
        return found

    def missing(self, written: Written) -> int:
        """How many events of these were not handled yet."""
        handled = self.handled()
        return sum(len(set(rates) - set(handled[code])) for code, rates in written.rates.items())

    def doubled(self) -> int:
        """How many events were handled again."""
        return sum(len(rates) - len(set(rates)) for rates in self.handled().values())

    def recovered(self) -> None:
        """Wait until all that lies in the topic now is handled."""
        written = self.input()

        def are_handled() -> bool:
            self.revive()
            return not self.missing(written)

        eventually(are_handled, RECOVERY_SECONDS, "the consumers did not catch up")


class Written:
    """The rates of each currency in their order, and where the records lie that become dead letters, and why."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.rates: dict[str, list[int]] = defaultdict(list)
        self.poison: dict[Place, tuple[bytes, bytes]] = {}
        self.number = len(records)
        for record in records:
            place = record.partition, record.offset
            if record.value == b"no event":
                self.poison[place] = b"invalid_event", record.value
            elif record.key == FAILING.encode():
                self.poison[place] = b"handler_failed", record.value
            else:
                rate = json.loads(record.value)
                self.rates[rate["currency_code"]].append(int(rate["deal_base_rate"]))


def run(directory: Path, plan: Plan, faults: Sequence[str], seconds: float = 0.0) -> Report:
    """Do each fault once, in any order, and go on with faults at random until so much time has passed."""
    with trial(directory, plan, faults) as (brokers, report):
        stage = Consumers(brokers, directory, plan.protocol, plan.seed)
        with stage.running():
            endure(stage, report, seconds)
            stage.scale(0)
        _judge(stage, report)
    return report


def _judge(stage: Consumers, report: Report) -> None:
    """Compare what was written with what was handled, committed and set aside."""
    written, handled = stage.input(), stage.handled()
    letters = stage.brokers.read_all(stage.letters)
    told = {_place(letter): (letter.headers["dead_letter_reason"], letter.value) for letter in letters}
    committed = stage.brokers.committed(GROUP + stage.prefix, stage.topic)
    report.batches = written.number
    checks = {
        "events were not handled": stage.missing(written),
        "handled events are in no topic": sum(len(set(handled[code]) - set(written.rates[code])) for code in handled),
        # Repetitions aside: what is handled again begins with an event that was not committed.
        "currencies were handled out of order": sum(
            list(dict.fromkeys(handled[code])) != list(dict.fromkeys(rates)) for code, rates in written.rates.items()
        ),
        "dead letters are missing": len(written.poison.keys() - told.keys()),
        "dead letters are of events that can be handled": len(told.keys() - written.poison.keys()),
        "dead letters have another reason or value": sum(
            told[place] != expected for place, expected in written.poison.items() if place in told
        ),
        "events are not committed": written.number - sum(committed.values()),
    }
    report.verdicts.append(f"{len(told)} dead letters, {len(letters) - len(told)} of them doubled")
    report.verdicts.append(f"{stage.doubled()} events were handled again")
    report.verdicts.append(f"{stage.revived} processes ended by themselves and were started again")
    report.problems += [f"{number} {what}" for what, number in checks.items() if number]


def _place(letter: Record) -> Place:
    return int(letter.headers["dead_letter_partition"]), int(letter.headers["dead_letter_offset"])
