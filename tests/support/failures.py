"""All failures of feeds side by side: simulated collectors that fail as the scenarios of `simulate` say, and recover.

Each is in a region of its own, which is a topic: a feed that fails, and one beside it that does not.
"""

from dataclasses import replace

from exporter.model import FeedKey
from exporter.tools.simulate.command import SCENARIOS, SUBJECT
from exporter.tools.simulate.market import SimulatedFeed
from tests.support.alerts import Alert

# In seconds: what fails first, then all feeds at once, then some symbols. These are judged once a feed has been known
# for five minutes.
BEGIN, END = 30, 170
ALL_SILENT, ALL_BACK = 255, 290
PARTIAL_BEGIN, PARTIAL_END = 340, 430
FAILING = sorted(SCENARIOS.keys() - {"partial"})


def subject(region: str) -> SimulatedFeed:
    """The feed that fails."""
    return replace(SUBJECT, key=FeedKey(region, "subject", "ticker"))


def beside(region: str) -> SimulatedFeed:
    """A feed that does not."""
    return replace(SUBJECT, key=FeedKey(region, "beside", "ticker"))


def silent(feed: SimulatedFeed) -> SimulatedFeed:
    """What sends nothing."""
    return replace(feed, silent_after_ms=0)


def healthy(feed: SimulatedFeed) -> SimulatedFeed:
    """What the feed is like when nothing is wrong."""
    return replace(feed, then=())


def changing(feed: SimulatedFeed, *changes: tuple[float, SimulatedFeed]) -> SimulatedFeed:
    """The feed, with more changes of its habits, each after so many seconds."""
    then = (*feed.then, *((seconds * 1000, habits) for seconds, habits in changes))
    return replace(feed, then=tuple(sorted(then, key=lambda change: change[0])))


def played(scenario: str, feed: SimulatedFeed, begin: float, end: float) -> list[SimulatedFeed]:
    """The feed, or several in its name, that fail as the scenario says, and recover."""
    failing = SCENARIOS[scenario].play(feed, begin * 1000, end * 1000)
    return [changing(each, (end, healthy(each))) for each in failing]


def market(name: str) -> list[SimulatedFeed]:
    """All feeds: those of every scenario, a topic that falls silent, and a collector that comes late."""
    feeds = [beside(f"{name}-{region}") for region in (*SCENARIOS, "missing")]
    for scenario in FAILING:
        feeds += played(scenario, subject(f"{name}-{scenario}"), BEGIN, END)
    feeds += played("partial", subject(f"{name}-partial"), PARTIAL_BEGIN, PARTIAL_END)
    for gone in (subject(f"{name}-topic"), beside(f"{name}-topic")):
        feeds.append(changing(gone, (BEGIN, silent(gone)), (END, gone)))
    late = subject(f"{name}-missing")
    feeds.append(changing(late, (0, silent(late)), (END, late)))
    return [changing(feed, (ALL_SILENT, silent(feed)), (ALL_BACK, healthy(feed))) for feed in feeds]


def first_alerts(name: str) -> set[Alert]:
    """What should fire of all that fails at first: of feeds, of records in a topic, and of a whole topic."""
    alerts = {
        Alert(alert, f"{name}-{scenario}:subject:ticker")
        for scenario in FAILING
        if (alert := SCENARIOS[scenario].alert) and scenario != "garbage"
    }
    return alerts | {
        *(Alert(SCENARIOS["garbage"].alert, f"ticker-data.{name}-{scenario}") for scenario in ("garbage", "rejected")),
        Alert("MarketdataTopicSilent", f"{name}-topic:ticker"),
        Alert("MarketdataFeedMissing", f"{name}-missing:subject:ticker"),
    }
