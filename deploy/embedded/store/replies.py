"""Answers: headers that clients look for, errors as text, an error in the middle of a stream."""

from __future__ import annotations

import json
import secrets

from aiohttp import web

from deploy.embedded.store.engine import Answer, Engine
from deploy.embedded.store.faults import StoreError

_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "CSVWithNames": "text/csv; charset=UTF-8",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "Arrow": "application/vnd.apache.arrow.file",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Parquet": "application/octet-stream",
}
_TEXT = "text/tab-separated-values; charset=UTF-8"


class Replies:
    """Makes the headers of answers; what it says of the engine does not change."""

    def __init__(self, engine: Engine) -> None:
        self._version = engine.version
        self._common = {
            "X-ClickHouse-Server-Display-Name": engine.display_name,
            "X-ClickHouse-Timezone": engine.timezone,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }

    def headers(self, query_id: str, *, fmt: str = "", packed: str = "") -> dict[str, str]:
        """Headers of a good answer; `fmt` only if it has rows (or could have had)."""
        headers = {**self._common, "X-ClickHouse-Query-Id": query_id, "Content-Type": _TYPES.get(fmt, _TEXT)}
        if fmt:
            headers["X-ClickHouse-Format"] = fmt
        if packed:
            headers["Content-Encoding"] = packed
        return headers

    def summary(self, answer: Answer, *, wrote: bool) -> dict[str, str]:
        """The header that says what a statement took. An insert's rows are counted before deduplication."""
        word = "written" if wrote else "read"
        counts = {f"{kind}_{unit}": "0" for kind in ("read", "written") for unit in ("rows", "bytes")}
        counts[f"{word}_rows"] = str(answer.rows_read)
        counts[f"{word}_bytes"] = str(answer.bytes_read)
        counts["elapsed_ns"] = str(answer.elapsed_ns)
        return {"X-ClickHouse-Summary": json.dumps(counts)}

    def error(self, error: StoreError, query_id: str = "") -> web.Response:
        """The answer to what failed before anything was sent."""
        headers = self.headers(query_id)
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="embedded store"'
        return web.Response(status=error.status, headers=headers, body=self._text(error) + b"\n")

    def late_error(self, error: StoreError, tag: str) -> bytes:
        """The tail of an answer that failed when some of it was out, told apart from data by `tag`."""
        text = self._text(error)
        return b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n" % (
            tag.encode(),
            text,
            len(text) + 1,
            tag.encode(),
        )

    def _text(self, error: StoreError) -> bytes:
        text = error.text
        if "(version " not in text[-60:]:
            text = f"{text} (version {self._version})"
        return text.encode()


def new_tag() -> str:
    """A tag that no data can hold by chance: 16 letters."""
    return secrets.token_hex(8)
