"""A client of a service that fails: calls are repeated, and given up at once while nothing answers."""

from exporter.performance import CircuitBreaker, CircuitOpenError, retry_with_backoff

breaker = CircuitBreaker(failure_threshold=3, timeout=30, name="orders")
answers = iter([False, True, False, False, False])


@retry_with_backoff(max_retries=3, base_delay=0.01, exceptions=ConnectionError)
@breaker
def send(order: str) -> str:
    """Send an order, to a service that answers once in five times."""
    if not next(answers):
        raise ConnectionError(f"no answer to {order}")
    return f"accepted {order}"


print(send("buy"))
for order in ("sell", "hold"):
    try:
        print(send(order))
    except CircuitOpenError as error:
        print(f"{order} not sent: {error.name} is {breaker.state}")
