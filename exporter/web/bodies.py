"""How much memory the answers hold that are on their way. Pure."""

from __future__ import annotations


class Bodies:
    """The different bodies that are held; `total` is their bytes."""

    def __init__(self) -> None:
        self.total = 0
        self._readers: dict[int, int] = {}

    def hold(self, body: tuple[bytes, ...]) -> None:
        """Add a reader of a body."""
        if body:
            before = self._readers.get(id(body), 0)
            self._readers[id(body)] = before + 1
            self.total += 0 if before else sum(map(len, body))

    def release(self, body: tuple[bytes, ...]) -> None:
        """Take a reader of a body away."""
        if body:
            self._readers[id(body)] -= 1
            if not self._readers[id(body)]:
                del self._readers[id(body)]
                self.total -= sum(map(len, body))
