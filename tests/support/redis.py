"""A real Redis: one server, with Sentinels, or a cluster."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from redis import Redis
from redis.crc import key_slot

from tests.support.missing import program
from tests.support.process import Part, accepts_connections, free_port
from tests.support.waiting import eventually

MASTER = "mymaster"
PARTITION = "ticker-data.korea/0"
PROMPT = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
CLUSTER = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500")


class RedisServer(Part):
    """A Redis that keeps nothing when it ends; `options` are those of its command line."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._program = program("redis-server", "redis-server")
        self._options = options

    def command(self) -> Sequence[str]:
        """See Part."""
        listen = ["--bind", "127.0.0.1", "--port", str(self.port)]
        return [self._program, *listen, "--save", "", "--appendonly", "no", *self._options]

    def ready(self) -> bool:
        """See Part."""
        if not accepts_connections(self.port):
            return False
        with self.client() as client:
            return bool(client.ping())

    def client(self) -> Redis:
        """A client of its own, to be closed by who asks for it."""
        return Redis(port=self.port, decode_responses=True)


class SentinelServer(RedisServer):
    """A Sentinel that watches a master, if any, and takes it for down after half a second."""

    def __init__(self, directory: Path, master: RedisServer | None = None, password: str = "") -> None:
        super().__init__(directory)
        self._password = password
        self._lines = [f"port {self.port}", "bind 127.0.0.1", *([f"requirepass {password}"] if password else [])]
        if master is not None:
            self._lines += [
                f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1",
                f"sentinel down-after-milliseconds {MASTER} 500",
                f"sentinel failover-timeout {MASTER} 2000",
            ]

    def command(self) -> Sequence[str]:
        """See Part. A Sentinel writes to its configuration."""
        (self.directory / "sentinel.conf").write_text("".join(f"{line}\n" for line in self._lines))
        return [self._program, "sentinel.conf", "--sentinel"]

    def client(self) -> Redis:
        """See RedisServer."""
        return Redis(port=self.port, decode_responses=True, password=self._password or None)


class Deployment(Protocol):
    """Servers of one kind, whose first master can be lost."""

    keys: dict[str, Any]  # of the section `redis`
    nodes: list[RedisServer]  # all that hold keys

    def flush(self) -> None:
        """Delete all keys."""

    @property
    def master(self) -> RedisServer:
        """The master with the keys of PARTITION."""

    @property
    def replica(self) -> RedisServer:
        """The replica that takes its place."""


class WithSentinels:
    """A master, its replica, and two Sentinels, one of which suffices."""

    def __init__(self, directory: Path) -> None:
        self.master = RedisServer(directory / "master", *PROMPT)
        self.replica = RedisServer(directory / "replica", "--replicaof", "127.0.0.1", str(self.master.port), *PROMPT)
        self.nodes = [self.master, self.replica]
        self.sentinels = [SentinelServer(directory / f"sentinel{number}", self.master) for number in (1, 2)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.keys: dict[str, Any] = {"url": f"redis+sentinel://{hosts}/{MASTER}/0"}

    def flush(self) -> None:
        """See Deployment."""
        with self.master.client() as client:
            client.flushall()

    def names(self, server: RedisServer) -> bool:
        """Whether each Sentinel names this one as the master."""
        with ExitStack() as asking:
            asked: list[Any] = [asking.enter_context(sentinel.client()) for sentinel in self.sentinels]
            return all(client.sentinel_master(MASTER)["port"] == server.port for client in asked)

    def start(self, running: ExitStack) -> Self:
        """Start all, and wait until a failover is possible."""
        for part in (self.master, self.replica):
            running.callback(part.start().kill)
        with self.replica.client() as client:
            eventually(lambda: client.info("replication")["master_link_status"] == "up", 20)
        for sentinel in self.sentinels:
            running.callback(sentinel.start().kill)
            with sentinel.client() as asked:
                eventually(partial(_knows_replica, asked), 20)
        return self


class ClusterOfThree:
    """Three masters, the one with the keys of PARTITION has a replica."""

    def __init__(self, directory: Path) -> None:
        buses = [free_port() for _ in range(4)]
        self.nodes = [
            RedisServer(directory / f"node{number}", *CLUSTER, "--cluster-port", str(bus), *PROMPT)
            for number, bus in enumerate(buses)
        ]
        self._buses = buses
        owner = key_slot(f"marketdata:{{{PARTITION}}}:messages".encode()) * 3 // 16_384
        self.master, self.replica = self.nodes[owner], self.nodes[3]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.keys: dict[str, Any] = {"url": f"redis+cluster://{hosts}"}

    def flush(self) -> None:
        """See Deployment."""
        for node in self.nodes[:3]:
            with node.client() as client:
                client.flushall()

    def start(self, running: ExitStack) -> Self:
        """Start all, and wait until a failover is possible."""
        for node in self.nodes:
            running.callback(node.start().kill)
        clients = [running.enter_context(node.client()) for node in self.nodes]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                first, last = -(-number * 16_384 // 3), -(-(number + 1) * 16_384 // 3) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self._buses[0])
        with self.master.client() as client:
            name = client.execute_command("CLUSTER", "MYID")
        eventually(lambda: all(_knows(client, 4) for client in clients), 20)
        clients[3].execute_command("CLUSTER", "REPLICATE", name)
        eventually(lambda: all(_is_complete(client) for client in clients), 20)
        eventually(lambda: clients[3].info("replication")["master_link_status"] == "up", 20)
        return self


def _knows_replica(sentinel: Any) -> bool:
    return bool(sentinel.sentinel_master(MASTER)["num-slaves"] == 1)


def _knows(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return int(info["cluster_known_nodes"]) == nodes


def _is_complete(client: Any) -> bool:
    """Whether the node sees all slots served, and a replica."""
    roles = [node["flags"] for node in client.execute_command("CLUSTER NODES").values()]
    return client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" and any("slave" in role for role in roles)
