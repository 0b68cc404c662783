"""Answer Grafana's health path, and nothing else."""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Health(BaseHTTPRequestHandler):
    """Handler of one request."""

    def do_GET(self) -> None:
        """Answer 200 where Grafana tells its health."""
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


HTTPServer(("", 3000), Health).serve_forever()
