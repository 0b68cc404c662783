"""A pool of database connections: how many are in use, how long a query waits for one and how long it takes."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from exporter.instrument import MetricsCollector

collector = MetricsCollector()


class Pool:
    """A fixed number of connections that threads share."""

    def __init__(self, name: str, size: int) -> None:
        labels = {"pool": name}
        self._free = SimpleQueue[sqlite3.Connection]()
        for _ in range(size):
            self._free.put(sqlite3.connect(":memory:", check_same_thread=False))
        collector.gauge("db_pool_size", "Connections of the pool.", labels).set(size)
        self._used = collector.gauge("db_pool_connections_in_use", "Connections that a thread has.", labels)
        self._waits = collector.histogram("db_pool_wait_seconds", "Time until a connection was free.", labels)
        self._queries = collector.summary("db_query_duration_seconds", "Time of a query.", labels, max_age=300)
        self._errors = collector.counter("db_query_errors_total", "Queries that failed.", labels)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection."""
        begin = time.perf_counter()
        connection = self._free.get()
        self._waits.observe(time.perf_counter() - begin)
        self._used.increment()
        try:
            yield connection
        finally:
            self._used.decrement()
            self._free.put(connection)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with self.connection() as connection:
            begin = time.perf_counter()
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.Error:
                self._errors.increment()
                raise
            finally:
                self._queries.observe(time.perf_counter() - begin)

    def slowest(self) -> float:
        """Return the seconds that 1 % of the queries of the last five minutes exceed."""
        return self._queries.get_statistics()["p99"]


def main() -> None:
    """Run queries in several threads."""
    pool = Pool("orders", size=2)

    def work() -> None:
        for number in range(50):
            pool.query(f"SELECT {number} + 1")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"p99 {pool.slowest():.6f} s")


if __name__ == "__main__":
    main()
