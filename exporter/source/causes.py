"""Causes why nothing is read: refusals of brokers, and what keeps them from answering.

Pure: time is an argument, in seconds.
"""

from __future__ import annotations

import re
from enum import IntEnum

# librdkafka repeats an error of a connection at least every half minute. A cause is over when a later one is this much
# younger.
LASTS_SECONDS = 60.0
_FATAL = re.compile(r"^Fatal error: (.+?): (.*\1)$", re.DOTALL)
# Remedies, by patterns in the texts of brokers and of librdkafka.
ADVICE = (
    (
        "Inconsistent group protocol",
        "other members use another assignment strategy: stop them, or choose another input.group",
    ),
    ("Group authorization failed", "allow READ on the group input.group"),
    ("Topic authorization failed", "allow READ and DESCRIBE on the topics of input.topics"),
    ("maximum size", "it has as many members as the brokers allow: stop some, or raise their group.max.size"),
    (
        "Invalid session timeout",
        "see session.timeout.ms in kafka.consumer_properties: the brokers allow group.min.session.timeout.ms to "
        "group.max.session.timeout.ms",
    ),
    ("instance.id|instance ID", "another member has this group.instance.id: each needs another"),
    ("assignor", "see group.remote.assignor in kafka.consumer_properties: the brokers have group.consumer.assignors"),
    ("Invalid group.id", "choose another input.group"),
    ("Unknown topic", "create it, or correct input.topics"),
    ("not supported", "the brokers do not support or allow it: see group.protocol in kafka.consumer_properties"),
)


class CauseKind(IntEnum):
    """Kinds of causes; of several the first is shown."""

    REFUSED = 0  # a broker refuses
    MISSING = 1  # there is nothing to read
    UNREACHABLE = 2  # no connection can be made
    SILENT = 3  # no answer, for an unknown reason


class Causes:
    """The last cause of each kind. `current` and `is_refused` may be called from any thread, the rest from the loop."""

    def __init__(self) -> None:
        self._causes: dict[CauseKind, tuple[str, float]] = {}

    def set(self, kind: CauseKind, text: str, now: float) -> None:
        """Set the cause of a kind."""
        self._causes = self._causes | {kind: (text, now)}

    def has(self, kind: CauseKind) -> bool:
        """Return whether there is a cause of this kind."""
        return kind in self._causes

    def clear(self, *kinds: CauseKind) -> None:
        """Clear the causes of these kinds, or all."""
        self._causes = {kind: cause for kind, cause in self._causes.items() if kinds and kind not in kinds}

    def current(self, now: float) -> str:
        """Return the cause to show, empty when there is none."""
        lasting = self._lasting(now)
        return lasting[min(lasting)] if lasting else ""

    def is_refused(self, now: float) -> bool:
        """Return whether brokers answer, and refuse."""
        return CauseKind.REFUSED in self._lasting(now)

    def _lasting(self, now: float) -> dict[CauseKind, str]:
        lasting = {
            kind: (text, at)
            for kind, (text, at) in self._causes.items()
            if kind in (CauseKind.REFUSED, CauseKind.MISSING) or now - at < LASTS_SECONDS
        }
        latest = max((at for _, at in lasting.values()), default=now)
        return {kind: text for kind, (text, at) in lasting.items() if latest - at < LASTS_SECONDS}


def without_repetition(text: str) -> str:
    """Return the text of a fatal error without its repetition."""
    return _FATAL.sub(r"\2", text).rstrip(".")


def refusal(text: str) -> str:
    """Return a refusal in one sentence, with a remedy if one is known."""
    plain = without_repetition(text)
    advice = next((advice for pattern, advice in ADVICE if re.search(pattern, plain)), "")
    return f"{plain}; {advice}" if advice else plain
