"""Passwords: each is computed once, never for a client that is known, and for unknown users as for known ones."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.authentication import (
    PASSWORD_BYTES,
    WAITING_MAX,
    WRONG_MAX,
    Credentials,
    PasswordChecks,
    TooManyChecks,
    Users,
    credentials,
)
from tests.support.webfile import hashed

RIGHT = Credentials(b"prometheus", b"sesame")
USERS = Users({"prometheus": hashed("sesame")})


class Computations:
    """A comparison that counts, and that waits until it may go on; `cost` sees what it was asked for."""

    def __init__(self) -> None:
        self.compared: list[tuple[bytes, bytes]] = []
        self.running = self.most_running = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, password: bytes, hash: bytes) -> bool:
        self.compared.append((password, hash))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.go_on.wait()
        self.running -= 1
        return password == b"sesame" and hash == USERS.hash_of(b"prometheus")


def checked(scenario: Callable[[PasswordChecks, Computations], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with checks of its own."""

    async def run() -> None:
        computations = Computations()
        checks = PasswordChecks(computations)
        try:
            await scenario(checks, computations)
        finally:
            computations.go_on.set()
            checks.close()

    asyncio.run(run())


def wrong(number: int, user: bytes = b"prometheus") -> Credentials:
    return Credentials(user, b"%d" % number)


def test_a_right_password_is_computed_once() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        assert checks.known(USERS, RIGHT) is None
        assert [await checks.check(USERS, RIGHT, "a") for _ in range(3)] == [True, True, True]
        assert checks.known(USERS, RIGHT) is True
        assert len(computations.compared) == 1

    checked(scenario)


def test_equal_requests_share_a_computation() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        assert await asyncio.gather(*(checks.check(USERS, RIGHT, "a") for _ in range(5))) == [True] * 5
        assert len(computations.compared) == 1

    checked(scenario)


def test_a_flood_of_wrong_passwords_is_computed_one_at_a_time_and_delays_no_known_client() -> None:
    """Known ones are answered while a computation hangs."""

    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        assert await checks.check(USERS, RIGHT, "scraper")
        computations.go_on.clear()
        flood = [asyncio.create_task(checks.check(USERS, wrong(each), "flood")) for each in range(10 * WAITING_MAX)]
        await asyncio.sleep(0)
        assert [await checks.check(USERS, RIGHT, "scraper") for _ in range(100)] == [True] * 100
        computations.go_on.set()
        results = await asyncio.gather(*flood, return_exceptions=True)
        refused = [each for each in results if isinstance(each, TooManyChecks)]
        assert len(refused) == 9 * WAITING_MAX - 1
        assert results.count(False) == WAITING_MAX + 1
        assert computations.most_running == 1
        assert checks.known(USERS, RIGHT) is True

    checked(scenario)


def test_a_host_with_few_checks_comes_before_a_flood_and_loses_none() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        computations.go_on.clear()
        flood = [asyncio.create_task(checks.check(USERS, wrong(each), "flood")) for each in range(WAITING_MAX + 1)]
        await asyncio.sleep(0)
        scraper = asyncio.create_task(checks.check(USERS, RIGHT, "scraper"))
        await asyncio.sleep(0)
        more = [asyncio.create_task(checks.check(USERS, wrong(-each), "flood")) for each in range(1, 10)]
        await asyncio.sleep(0)
        computations.go_on.set()
        assert await scraper
        # After the one that was being computed.
        assert computations.compared[1][0] == b"sesame"
        await asyncio.gather(*flood, *more, return_exceptions=True)

    checked(scenario)


def test_the_latest_wrong_passwords_are_remembered() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        for each in range(WRONG_MAX + 1):
            assert not await checks.check(USERS, wrong(each), "a")
        assert checks.known(USERS, wrong(WRONG_MAX)) is False
        assert checks.known(USERS, wrong(0)) is None
        assert len(computations.compared) == WRONG_MAX + 1

    checked(scenario)


def test_an_unknown_user_costs_a_computation_of_the_same_cost() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        for user in (b"prometheus", b"unknown", b""):
            assert not await checks.check(USERS, Credentials(user, b"guess"), "a")
        assert [password for password, _ in computations.compared] == [b"guess"] * 3
        assert {hash[4:6] for _, hash in computations.compared} == {b"04"}

    checked(scenario)


def test_no_password_is_right_for_an_unknown_user() -> None:
    """Not even one that the comparison accepts."""

    async def scenario() -> None:
        checks = PasswordChecks(lambda *_: True)
        assert not await checks.check(USERS, Credentials(b"unknown", b"sesame"), "a")
        checks.close()

    asyncio.run(scenario())


@given(st.binary(), st.lists(st.sampled_from(["04", "05", "12"]), min_size=1))
def test_an_unknown_user_has_always_the_same_hash_with_the_cost_of_a_known_one(user: bytes, costs: list[str]) -> None:
    users = Users({f"user-{number}": f"$2b${cost}$" + "." * 53 for number, cost in enumerate(costs)})
    assert users.hash_of(user) == users.hash_of(user)
    assert users.hash_of(user)[4:6].decode() in costs


def test_another_hash_makes_a_right_password_wrong() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        assert await checks.check(USERS, RIGHT, "a")
        changed = Users({"prometheus": hashed("other")})
        assert checks.known(changed, RIGHT) is None
        assert not await checks.check(changed, RIGHT, "a")
        assert not await checks.check(Users({"another": hashed("sesame")}), RIGHT, "a")
        assert len(computations.compared) == 3

    checked(scenario)


def test_a_comparison_gets_what_bcrypt_reads() -> None:
    """Go's bcrypt ignores the rest of a longer password, Python's refuses it."""

    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        assert not await checks.check(USERS, Credentials(b"prometheus", b"x" * 100), "a")
        assert computations.compared[0][0] == b"x" * PASSWORD_BYTES

    checked(scenario)


def test_a_comparison_that_fails_is_a_wrong_password() -> None:
    def fail(password: bytes, hash: bytes) -> bool:
        raise ValueError("no hash")

    async def scenario() -> None:
        checks = PasswordChecks(fail)
        assert not await checks.check(USERS, RIGHT, "a")
        checks.close()

    asyncio.run(scenario())


def test_a_client_that_leaves_takes_no_result_from_others() -> None:
    async def scenario(checks: PasswordChecks, computations: Computations) -> None:
        computations.go_on.clear()
        first = asyncio.create_task(checks.check(USERS, RIGHT, "a"))
        second = asyncio.create_task(checks.check(USERS, RIGHT, "b"))
        await asyncio.sleep(0)
        first.cancel()
        computations.go_on.set()
        assert await second

    checked(scenario)


def header(text: bytes) -> str:
    return f"Basic {b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (header(b"user:pass:word"), Credentials(b"user", b"pass:word")),
        (header(b":"), Credentials(b"", b"")),
        (header("é:ü".encode()), Credentials("é".encode(), "ü".encode())),
        (header(b"a:b").replace("Basic", "bAsIc"), Credentials(b"a", b"b")),
        (header(b"no colon"), None),
        ("Basic !!!", None),
        ("Basic \udcff", None),
        ("Basic", None),
        ("Bearer YTpi", None),
        ("", None),
    ],
)
def test_credentials_are_read_from_the_header(text: str, found: Credentials | None) -> None:
    assert credentials(text) == found


@given(st.text())
def test_any_header_is_read_without_an_error(text: str) -> None:
    assert credentials(text) is None or isinstance(credentials(text), Credentials)
