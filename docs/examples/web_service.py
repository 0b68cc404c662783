"""A web service whose requests are measured by a middleware, with its own /metrics.

Any framework with middlewares works like this one (aiohttp): time the handler, and label by the pattern of the route,
never by the path of the request, which has values without bound.
"""

import os
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.instrument import MetricsCollector, PrometheusStorage

storage = PrometheusStorage()
collector = MetricsCollector(storage=storage)
requests = collector.counter("http_requests_total", "Requests by method, route and status.")
running = collector.gauge("http_requests_running", "Requests that are being answered.")
durations = collector.histogram("http_request_duration_seconds", "Time to answer.", buckets=[0.01, 0.05, 0.1, 0.5, 1.0])


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count and time a request."""
    route = request.match_info.route.resource
    labels = {"method": request.method, "route": route.canonical if route else "unknown"}
    begin, status = time.perf_counter(), 500
    running.increment()
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        running.decrement()
        durations.observe(time.perf_counter() - begin, labels)
        requests.increment(labels={**labels, "status": str(status)})


async def user(request: web.Request) -> web.Response:
    """Answer with a user; user 0 is unknown, and user 13 a fault of the program."""
    number = int(request.match_info["number"])
    if number == 0:
        raise web.HTTPNotFound
    return web.json_response({"number": number, "share": 1 / (number - 13)})


async def metrics(request: web.Request) -> web.Response:
    """Answer Prometheus."""
    return web.Response(body=storage.page(), headers={"Content-Type": storage.content_type})


def application() -> web.Application:
    """Return the service."""
    app = web.Application(middlewares=[measured])
    app.add_routes([web.get("/users/{number}", user), web.get("/metrics", metrics)])
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
