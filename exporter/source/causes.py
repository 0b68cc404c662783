"""Why nothing is read, for as long as that is so: what brokers refuse, and what keeps them from answering.

Pure: time is an argument, in seconds.
"""

from __future__ import annotations

import re
from enum import IntEnum

# What keeps from connecting librdkafka says again at least every half minute; of other causes, later ones by so long
# tell that they are over.
LASTS_SECONDS = 60.0
_FATAL = re.compile(r"^Fatal error: (.+?): (.*\1)$", re.DOTALL)
# What to do, by the words of the brokers and of librdkafka.
ADVICE = (
    (
        "Inconsistent group protocol",
        "others share its partitions in another way: stop them, or choose another input.group",
    ),
    ("Group authorization failed", "allow READ on the group input.group"),
    ("Topic authorization failed", "allow READ and DESCRIBE on the topics of input.topics"),
    ("maximum size", "it has as many members as the brokers allow: stop some, or raise their group.max.size"),
    (
        "Invalid session timeout",
        "see session.timeout.ms in kafka.consumer_properties: the brokers allow group.min.session.timeout.ms to "
        "group.max.session.timeout.ms",
    ),
    ("instance.id|instance ID", "another member has this group.instance.id: each needs one of its own"),
    ("assignor", "see group.remote.assignor in kafka.consumer_properties: the brokers have group.consumer.assignors"),
    ("Invalid group.id", "choose another input.group"),
    ("Unknown topic", "create it, or correct input.topics"),
    ("not supported", "the brokers do not know it or do not allow it: see group.protocol in kafka.consumer_properties"),
)


class Kind(IntEnum):
    """What sort of cause it is; of several the first is shown."""

    REFUSED = 0  # a broker says no
    MISSING = 1  # there is nothing to read
    UNREACHABLE = 2  # no connection comes about
    SILENT = 3  # there is no answer, and nobody says why


class Causes:
    """The last cause of each kind. `shown` and `is_refused` are for any thread, the rest for the one that reads."""

    def __init__(self) -> None:
        self._said: dict[Kind, tuple[str, float]] = {}

    def say(self, kind: Kind, text: str, now: float) -> None:
        """Take a cause over; it lasts until it is over."""
        self._said = self._said | {kind: (text, now)}

    def has(self, kind: Kind) -> bool:
        """Return whether there is a cause of this kind that is not over."""
        return kind in self._said

    def over(self, *kinds: Kind) -> None:
        """Forget the causes of these kinds, of all when none is named."""
        self._said = {kind: said for kind, said in self._said.items() if kinds and kind not in kinds}

    def shown(self, now: float) -> str:
        """Return the cause to be shown, empty when there is none."""
        lasting = self._lasting(now)
        return lasting[min(lasting)] if lasting else ""

    def is_refused(self, now: float) -> bool:
        """Return whether brokers answer, and say no."""
        return Kind.REFUSED in self._lasting(now)

    def _lasting(self, now: float) -> dict[Kind, str]:
        said = {
            kind: (text, at)
            for kind, (text, at) in self._said.items()
            if kind in (Kind.REFUSED, Kind.MISSING) or now - at < LASTS_SECONDS
        }
        latest = max((at for _, at in said.values()), default=now)
        return {kind: text for kind, (text, at) in said.items() if latest - at < LASTS_SECONDS}


def once(text: str) -> str:
    """Return the text of a fatal error without its repetition."""
    return _FATAL.sub(r"\2", text).rstrip(".")


def refusal(text: str) -> str:
    """Return what a broker refuses in one sentence, with what to do about it."""
    said = once(text)
    advice = next((advice for pattern, advice in ADVICE if re.search(pattern, said)), "")
    return f"{said}; {advice}" if advice else said
