"""The findings of `check` about the schema registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from exporter.config.schema import Config
from exporter.events.registry import REGISTER, Subject, denial, is_forbidden, is_missing, is_same, subject
from exporter.events.values import load_schema
from exporter.model import EventType, RegistryError
from exporter.tools.check.model import Finding, Level

if TYPE_CHECKING:
    from exporter.events.registry_http import Reply

REGISTRY = "output.schema_registry"


class Answers(NamedTuple):
    """The answers of a registry about one schema: its lookup, its compatibility, and a trial of its registration.

    `latest` is the latest version of the subject, if the trial was refused, or `run` registers nothing. A request that
    was not made is None.
    """

    lookup: Reply
    compatibility: Reply | None = None
    trial: Reply | None = None
    latest: Reply | None = None


def registry(config: Config) -> Iterator[Finding]:
    """Yield whether each schema is or can be registered, until an answer that is the same for the others."""
    output = config.output
    if output.schema_registry is None or not output.enabled:
        return
    from exporter.events.registry_http import RegistryHttp  # loaded only if configured

    http = RegistryHttp(output)
    http.start_session()
    for event_type in EventType:
        topic = output.error_topic if event_type is EventType.ERROR else output.topic
        schema = load_schema(event_type)
        asked = Subject(http, subject(topic, schema, output.schema_registry_subjects), schema)
        try:
            answers = _request(asked, registers=output.schema_registry_register)
        except RegistryError as error:
            yield Finding(Level.FAIL, REGISTRY, f"{http.shown_url}: {error}", "see that it runs and the URL is right")
            return
        yield evaluate(http.shown_url, asked, answers)
        if answers.lookup.status == 401:
            return


def _request(subject: Subject, *, registers: bool) -> Answers:
    """Make the requests that `run` depends on; nothing is registered."""
    lookup = subject.lookup()
    if lookup.status in (200, 401) or lookup.status >= 500:
        return Answers(lookup)
    if not registers:
        return Answers(lookup, latest=subject.latest())
    compatibility, trial = subject.compatibility(), subject.trial()
    return Answers(lookup, compatibility, trial, subject.latest() if is_forbidden(trial) else None)


def evaluate(place: str, subject: Subject, answers: Answers) -> Finding:
    """Return the finding about one schema."""
    name, lookup, latest = subject.name, answers.lookup, answers.latest
    if lookup.status == 401:
        text = f"{place} does not accept the user, the password or the token: {lookup}"
        advice = (
            "see output.schema_registry_username and output.schema_registry_password, or those in the URL, or "
            "output.schema_registry_token and output.schema_registry_token_file"
        )
        return Finding(Level.FAIL, REGISTRY, text, advice)
    if lookup.status == 200:
        if lookup.id is None:
            return _no_registry(place, name, lookup)
        return Finding(Level.OK, REGISTRY, f"{name} is registered")
    if latest is not None and latest.status == 200 and is_same(latest, subject.schema):
        return Finding(Level.OK, REGISTRY, f"{name} is registered with the same fields")
    return _evaluate_new(place, name, answers)


def _evaluate_new(place: str, name: str, answers: Answers) -> Finding:
    """Return the finding about a schema that the registry does not have, or does not show."""
    lookup, compatibility, trial, latest = answers
    if compatibility is None and latest is not None and is_missing(lookup):
        advice = f"register it beforehand, or set {REGISTER} to true"
        return Finding(Level.FAIL, REGISTRY, f"{place} does not have {name}, and {REGISTER} is false", advice)
    if compatibility is None or trial is None:
        return _no_registry(place, name, lookup)
    is_compatible = compatibility.body.get("is_compatible") if compatibility.status == 200 else None
    if is_compatible is False:
        advice = "the subject has another schema: choose another topic, or change the compatibility of the subject"
        return Finding(Level.FAIL, REGISTRY, f"{name} is not compatible with the version that is registered", advice)
    if not (is_compatible or is_missing(compatibility) or compatibility.status == 403):
        return _no_registry(place, name, compatibility)
    if is_forbidden(trial):
        advice = "register the schema beforehand, or allow the user to write to this subject"
        return Finding(Level.FAIL, REGISTRY, f"{place} refuses {name}: {denial(lookup, trial)}", advice)
    state = "compatible" if is_compatible else "new" if is_missing(compatibility) else "not shown to this user"
    return Finding(Level.OK, REGISTRY, f"{name} is {state} and will be registered")


def _no_registry(place: str, name: str, reply: Reply) -> Finding:
    text = f"{place} does not answer as a schema registry about {name}: {reply}"
    return Finding(Level.FAIL, REGISTRY, text, "see that the URL is right")
