"""A broker that is reached in two ways: by the tests directly, and by those who are to suffer through a proxy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.chaos.proxy import Proxy
from tests.support.cluster import knows_groups
from tests.support.kafka import Broker
from tests.support.process import free_port
from tests.support.waiting import eventually


class ProxiedBroker(Broker):
    """`bootstrap` is the direct way, `proxied` the other one; whoever begins with one stays with it."""

    start_seconds = 180.0  # as one of three, on a machine that is busy

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str] | None = None,
        protocol: str = "PLAINTEXT",
        heap: str = "768m",
    ) -> None:
        super().__init__(directory, heap=heap)
        behind = free_port()
        self.proxy = Proxy(free_port(), behind, self.port)
        self.proxied = f"127.0.0.1:{self.proxy.port}"
        plain = self._properties["listener.security.protocol.map"]
        self._properties |= {
            "listeners": f"{self._properties['listeners']},PROXIED://127.0.0.1:{behind}",
            "advertised.listeners": f"{self._properties['advertised.listeners']},PROXIED://{self.proxied}",
            "listener.security.protocol.map": f"{plain},PROXIED:{protocol}",
            "inter.broker.listener.name": "PLAINTEXT",
            **(properties or {}),
        }

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        self.start().create_topic("first")
        eventually(lambda: knows_groups(self), self.start_seconds, "no group coordinator")
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__()
        self.kill()
