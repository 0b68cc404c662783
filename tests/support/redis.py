"""A real Redis."""

from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from tests.support.missing import program
from tests.support.process import Part, accepts_connections, free_port


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
