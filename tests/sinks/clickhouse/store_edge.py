"""A switch in front of a real store: it passes every request on, or does to inserts what a store in trouble does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Refusal(NamedTuple):
    """An error of ClickHouse, as its HTTP interface answers it."""

    code: int
    name: str
    status: int = 500


READ_ONLY = Refusal(242, "TABLE_IS_READ_ONLY")
DISK_FULL = Refusal(243, "NOT_ENOUGH_SPACE")
TOO_MANY_PARTS = Refusal(252, "TOO_MANY_PARTS")
MEMORY = Refusal(241, "MEMORY_LIMIT_EXCEEDED")
TOO_MANY_QUERIES = Refusal(202, "TOO_MANY_SIMULTANEOUS_QUERIES")
TIMEOUT = Refusal(159, "TIMEOUT_EXCEEDED", 408)


class Edge:
    """Listens on loopback and stands for the store at `url`.

    `trouble`: a refusal; "away": connections are closed without an answer; "deaf": it is done, but the answer is lost;
    None: all is well. Only inserts are in trouble. `tokens`: that came with inserts, in their order.
    """

    def __init__(self, url: str) -> None:
        self.trouble: Refusal | str | None = None
        self.tokens: list[str] = []
        self._real = urlsplit(url)
        edge = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                edge.answer(self, body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody wants a line per request."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, door: BaseHTTPRequestHandler, body: bytes) -> None:
        """Pass a request on, or not."""
        asked = parse_qs(urlsplit(door.path).query)
        insert = "INSERT" in "".join(asked.get("query", [])).upper() or body[:6].upper() == b"INSERT"
        trouble = self.trouble if insert else None
        if insert:
            self.tokens += asked.get("insert_deduplication_token", [])
        if trouble == "away":
            self._hang_up(door)
        elif isinstance(trouble, Refusal):
            text = f"Code: {trouble.code}. DB::Exception: the test says so. ({trouble.name})".encode()
            self._reply(door, trouble.status, {"X-ClickHouse-Exception-Code": str(trouble.code)}, text)
        else:
            status, headers, found = self._passed_on(door, body)
            if trouble == "deaf":
                self._hang_up(door)
            else:
                self._reply(door, status, headers, found)

    def _passed_on(self, door: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        real = http.client.HTTPConnection(self._real.hostname or "", self._real.port or 80, timeout=60)
        try:
            kept = {k: v for k, v in door.headers.items() if k.lower() not in ("host", "connection", "content-length")}
            real.request(door.command, door.path, body, {**kept, "Host": self._real.netloc})
            answer = real.getresponse()
            dropped = ("transfer-encoding", "connection", "content-length", "keep-alive")
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in dropped}
            return answer.status, headers, answer.read()
        finally:
            real.close()

    def _reply(self, door: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
        door.send_response(status)
        for name, value in headers.items():
            door.send_header(name, value)
        door.send_header("Content-Length", str(len(body)))
        door.end_headers()
        door.wfile.write(body)

    def _hang_up(self, door: BaseHTTPRequestHandler) -> None:
        door.close_connection = True
        door.connection.close()

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
