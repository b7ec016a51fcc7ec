"""The health page on 127.0.0.1: /healthz, /readyz, /metrics, /status."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest

from pearlstream.errors import ServiceError

STILL_S = 180.0
"""A main loop that has not turned for so long is stuck; an insert may take two minutes."""


class Health:
    """Serves what the main loop last said about itself. `port` 0 takes any free one. Raises ServiceError."""

    def __init__(
        self,
        registry: CollectorRegistry,
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status: dict[str, Any] = {"ready": False, "problems": [{"what": "starting", "remedy": "wait"}]}
        self._registry, self._clock, self._turned = registry, clock, clock()
        health = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, kind, body = health.answer(self.path.partition("?")[0])
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody wants a line per probe."""

        try:
            self._server = ThreadingHTTPServer((host, port), Page)
        except OSError as error:
            raise ServiceError(
                f"the health page cannot listen on {host}:{port}: {error}",
                remedy="free the port, or set PEARLSTREAM_SINK__HEALTH_PORT=0 for any",
            ) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def turned(self, status: dict[str, Any] | None = None) -> None:
        """The main loop has turned; `status`, if given, replaces what is shown."""
        self._turned = self._clock()
        if status is not None:
            self.status = status

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status code, content type and body of a page."""
        status = self.status
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(self._registry)
        if path == "/healthz":
            alive = self._clock() - self._turned < STILL_S
            return (200, "text/plain", b"ok\n") if alive else (503, "text/plain", b"the main loop stands still\n")
        if path == "/readyz":
            return 200 if status.get("ready") else 503, "application/json", orjson.dumps(status.get("problems", []))
        if path == "/status":
            return 200, "application/json", orjson.dumps(status)
        return 404, "text/plain", b"/healthz /readyz /metrics /status\n"

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
