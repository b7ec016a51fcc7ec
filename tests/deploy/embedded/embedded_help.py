"""What the tests of the embedded parts share."""

from __future__ import annotations

import base64
import http.client
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> int:
        """ClickHouse's error code, 0 if there is none."""
        return int(self.headers.get("x-clickhouse-exception-code", 0))


def connect(store, **options) -> Client:
    """A client of the store (url, user, password)."""
    parts = urlsplit(store.url)
    return clickhouse_connect.get_client(
        host=parts.hostname, port=parts.port, username=store.user, password=store.password, **options
    )


def ask(store, sql: str | bytes = b"", *, method: str = "POST", headers=None, login: bool = True, **query) -> Reply:
    """One plain request: `sql` is the body, `query` the query string."""
    parts = urlsplit(store.url)
    sent = dict(headers or {})
    if login:
        pair = f"{store.user}:{store.password}".encode()
        sent.setdefault("Authorization", "Basic " + base64.b64encode(pair).decode())
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        path = "/?" + urlencode(query) if query else "/"
        connection.request(method, path, body=sql or None, headers=sent)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Come back as soon as `condition` holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be noticed does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
