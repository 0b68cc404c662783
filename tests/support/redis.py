"""A real Redis: one server, with Sentinels, or a cluster."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from redis import Redis
from redis.crc import key_slot

from exporter.config.tls_files import TlsFiles
from tests.support.missing import program
from tests.support.process import Part, accepts_connections, free_port
from tests.support.secure import Authority, Certified
from tests.support.waiting import eventually

MASTER = "mymaster"
PARTITION = "ticker-data.korea/0"
PROMPT = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
CLUSTER = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500")


class Tls(NamedTuple):
    """What servers and clients of one authority show each other."""

    authority: Path
    server: Certified
    client: Certified

    @classmethod
    def made_in(cls, directory: Path) -> Self:
        """Make an authority, and both certificates."""
        authority = Authority(directory)
        return cls(authority.certificate, authority.issue("server"), authority.issue("client"))

    def files(self) -> TlsFiles:
        """What a client is configured with."""
        certificate, key = map(str, self.client)
        return TlsFiles(ca_file=str(self.authority), cert_file=certificate, key_file=key)

    def settings(self, port: int) -> dict[str, str]:
        """What a server listens with, and connects to others with."""
        files = {"cert-file": self.server.certificate, "key-file": self.server.key, "ca-cert-file": self.authority}
        ways = {"port": "0", "tls-port": str(port), "tls-replication": "yes"}
        return ways | {f"tls-{name}": str(path) for name, path in files.items()}

    def keywords(self) -> dict[str, Any]:
        """What the driver connects with."""
        certificate, key = map(str, self.client)
        return {"ssl": True, "ssl_ca_certs": str(self.authority), "ssl_certfile": certificate, "ssl_keyfile": key}


class RedisServer(Part):
    """A Redis that keeps nothing when it ends; `options` are those of its command line."""

    def __init__(self, directory: Path, *options: str, tls: Tls | None = None) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.tls = tls
        self.url = f"redis{'s' if tls else ''}://127.0.0.1:{self.port}/0"
        self._program = program("redis-server", "redis-server")
        self._options = options

    def command(self) -> Sequence[str]:
        """See Part."""
        ports = {"port": str(self.port)} if self.tls is None else self.tls.settings(self.port)
        listen = [word for name, value in ports.items() for word in (f"--{name}", value)]
        kept = ["--save", "", "--appendonly", "no"]
        return [self._program, "--bind", "127.0.0.1", *listen, *kept, *self._options]

    def ready(self) -> bool:
        """See Part."""
        if not accepts_connections(self.port):
            return False
        with self.client() as client:
            return bool(client.ping())

    def client(self) -> Redis:
        """A client of its own, to be closed by who asks for it."""
        return Redis("127.0.0.1", self.port, decode_responses=True, **self._encryption())

    def _encryption(self) -> dict[str, Any]:
        return {} if self.tls is None else self.tls.keywords()


class SentinelServer(RedisServer):
    """A Sentinel that watches a master, if any, and takes it for down after half a second."""

    def __init__(self, directory: Path, master: RedisServer | None = None, password: str = "") -> None:
        super().__init__(directory, tls=None if master is None else master.tls)
        self._password = password
        ports = {"port": str(self.port)} if self.tls is None else self.tls.settings(self.port)
        self._lines = ["bind 127.0.0.1", *(f"{name} {value}" for name, value in ports.items())]
        self._lines += [f"requirepass {password}"] if password else []
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
        login: Any = self._encryption() | {"password": self._password or None}
        return Redis("127.0.0.1", self.port, decode_responses=True, **login)


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

    def __init__(self, directory: Path, tls: Tls | None = None) -> None:
        self.master = RedisServer(directory / "master", *PROMPT, tls=tls)
        of_master = "--replicaof", "127.0.0.1", str(self.master.port)
        self.replica = RedisServer(directory / "replica", *of_master, *PROMPT, tls=tls)
        self.nodes = [self.master, self.replica]
        self.sentinels = [SentinelServer(directory / f"sentinel{number}", self.master) for number in (1, 2)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.keys = _keys("sentinel", f"{hosts}/{MASTER}/0", tls)

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
    """Three masters; the one with the keys of PARTITION has a replica, or each (`pairs`: master and replica)."""

    def __init__(self, directory: Path, tls: Tls | None = None, *, is_paired: bool = False) -> None:
        buses = [free_port() for _ in range(6 if is_paired else 4)]
        kind = CLUSTER if tls is None else (*CLUSTER, "--tls-cluster", "yes")
        self.nodes = [
            RedisServer(directory / f"node{number}", *kind, "--cluster-port", str(bus), *PROMPT, tls=tls)
            for number, bus in enumerate(buses)
        ]
        self._buses = buses
        owner = key_slot(f"marketdata:{{{PARTITION}}}:messages".encode()) * 3 // 16_384
        replicas = {number: self.nodes[3 + number] for number in range(3)} if is_paired else {owner: self.nodes[3]}
        self.pairs = [(self.nodes[number], each) for number, each in replicas.items()]
        self.master, self.replica = self.nodes[owner], replicas[owner]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.keys = _keys("cluster", hosts, tls)

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
        eventually(lambda: all(_knows(client, len(clients)) for client in clients), 20)
        for master, replica in self.pairs:
            with master.client() as of_master, replica.client() as client:
                client.execute_command("CLUSTER", "REPLICATE", of_master.execute_command("CLUSTER", "MYID"))
        eventually(lambda: all(_is_complete(client, len(self.pairs)) for client in clients), 20)
        for client in clients[3:]:
            eventually(lambda client=client: client.info("replication")["master_link_status"] == "up", 20)  # type: ignore[misc]
        return self


def _keys(kind: str, place: str, tls: Tls | None) -> dict[str, Any]:
    """The section `redis` of a deployment."""
    url = f"redis{'s' if tls else ''}+{kind}://{place}"
    return {"url": url} if tls is None else {"url": url, "tls": tls.files()}


def _knows_replica(sentinel: Any) -> bool:
    return bool(sentinel.sentinel_master(MASTER)["num-slaves"] == 1)


def _knows(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return int(info["cluster_known_nodes"]) == nodes


def _is_complete(client: Any, replicas: int) -> bool:
    """Whether the node sees all slots served, and so many replicas."""
    roles = [node["flags"] for node in client.execute_command("CLUSTER NODES").values()]
    return (
        client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
        and sum("slave" in role for role in roles) == replicas
    )
