"""Memory of the response bodies that are being sent. Pure."""

from __future__ import annotations


class BodyMemory:
    """The different bodies in memory; `total_bytes` is their size."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._readers: dict[int, int] = {}

    def hold(self, body: tuple[bytes, ...]) -> None:
        """Count one more reader of a body."""
        if body:
            before = self._readers.get(id(body), 0)
            self._readers[id(body)] = before + 1
            self.total_bytes += 0 if before else sum(map(len, body))

    def release(self, body: tuple[bytes, ...]) -> None:
        """Count one reader of a body less."""
        if body:
            self._readers[id(body)] -= 1
            if not self._readers[id(body)]:
                del self._readers[id(body)]
                self.total_bytes -= sum(map(len, body))
