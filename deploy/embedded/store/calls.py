"""A request, read: its SQL, parameters, settings, body; and the session it belongs to."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

from deploy.embedded.store.bodies import Spool
from deploy.embedded.store.engine import Engine, Link, check_setting_name
from deploy.embedded.store.faults import BAD_ARGUMENTS, NOT_IMPLEMENTED, SESSION_LOCKED, StoreError

_TRANSPORT = (
    "query database default_format query_id session_id session_timeout session_check compress decompress "
    "buffer_size wait_end_of_query quota_key stacktrace client_protocol_version role enable_http_compression "
    "http_zlib_compression_level send_progress_in_http_headers http_headers_progress_interval_ms "
    "cancel_http_readonly_queries_on_client_close add_http_cors_header readonly user password log_comment"
)
_OF_THE_TRANSPORT = frozenset(_TRANSPORT.split())
"""Names in a query string that are not settings of the engine."""

_CHUNK = 256 * 1024
_FIELD_LIMIT = 16 * 1024 * 1024
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
SESSION_LIMIT = 200
_SESSION_S, _SESSION_MAX_S = 60.0, 3600.0


@dataclass
class External:
    """A table that comes with the query."""

    name: str
    structure: str
    format: str
    body: Spool


@dataclass
class Call:
    """One request. `read_only`: it came by GET, or said so."""

    query: str
    body: Spool
    encoding: str
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str
    default_format: str
    query_id: str
    session_id: str
    session_s: float
    read_only: bool
    pack: bool
    wait: bool
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    """By what it is found among the running statements."""
    external: list[External] = field(default_factory=list)

    def close(self) -> None:
        """Forget the bodies."""
        self.body.close()
        for table in self.external:
            table.body.close()


async def read_call(request: web.Request, engine: Engine, limit_bytes: int) -> Call:
    """Read a request to its end. Raises StoreError if it is malformed or too large."""
    given = dict(request.query)
    if given.get("compress") == "1" or given.get("decompress") == "1":
        raise StoreError.of_ours(
            NOT_IMPLEMENTED, "compress=1 (native blocks) is not spoken; use HTTP compression, for example gzip"
        )
    body = Spool(engine.incoming, limit_bytes)
    external: list[External] = []
    try:
        if request.content_type == "multipart/form-data":
            await _read_form(request, given, external, engine, limit_bytes)
        else:
            async for piece in request.content.iter_chunked(_CHUNK):
                body.write(piece)
    except BaseException:
        body.close()
        raise
    return _call(request, given, body, external)


def _call(request: web.Request, given: Mapping[str, str], body: Spool, external: list[External]) -> Call:
    described = {f"{table.name}_{word}" for table in external for word in ("structure", "types", "format")}
    settings = {
        check_setting_name(name): value
        for name, value in given.items()
        if name not in _OF_THE_TRANSPORT and name not in described and not name.startswith("param_")
    }
    headers = request.headers
    try:
        session_s = min(float(given.get("session_timeout", _SESSION_S)), _SESSION_MAX_S)
    except ValueError:
        raise StoreError.of_ours(BAD_ARGUMENTS, "session_timeout must be a number of seconds") from None
    return Call(
        query=given.get("query", ""),
        body=body,
        encoding=headers.get("Content-Encoding", "").lower(),
        parameters={name[6:]: value for name, value in given.items() if name.startswith("param_")},
        settings=settings,
        database=given.get("database", "") or str(headers.get("X-ClickHouse-Database", "")),
        default_format=given.get("default_format", "") or str(headers.get("X-ClickHouse-Format", "")),
        query_id=given.get("query_id") or str(uuid.uuid4()),
        session_id=given.get("session_id", ""),
        session_s=session_s,
        read_only=request.method in ("GET", "HEAD") or given.get("readonly", "0") not in ("", "0"),
        pack=given.get("enable_http_compression") == "1",
        wait=given.get("wait_end_of_query") == "1",
        external=external,
    )


async def _read_form(
    request: web.Request, given: dict[str, str], external: list[External], engine: Engine, limit_bytes: int
) -> None:
    """Fields with a file name are tables, all others are as if they stood in the query string."""
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader) or not part.name:
            raise StoreError.of_ours(BAD_ARGUMENTS, "a part of the form has no name")
        spool = Spool(engine.incoming, _FIELD_LIMIT if part.filename is None else limit_bytes)
        while piece := await part.read_chunk(_CHUNK):
            spool.write(piece)
        if part.filename is None:
            given[part.name] = spool.head(_FIELD_LIMIT).decode("utf-8", "surrogateescape")
            spool.close()
        else:
            external.append(_table(part.name, given, spool))


def _table(name: str, given: Mapping[str, str], body: Spool) -> External:
    structure = given.get(f"{name}_structure", "")
    if not structure and (types := given.get(f"{name}_types")):
        structure = ", ".join(f"_{place} {kind}" for place, kind in enumerate(types.split(","), start=1))
    if not _TABLE_NAME.fullmatch(name) or not structure:
        raise StoreError.of_ours(BAD_ARGUMENTS, f"the table {name[:60]!r} sent with the query needs a structure")
    return External(name, structure, given.get(f"{name}_format", "TabSeparated"), body)


@dataclass
class _Session:
    link: Link
    expires: float
    busy: bool = False


class Sessions:
    """Connections that outlive a request, by session id; all others live as long as their request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions: dict[str, _Session] = {}
        self._lock = asyncio.Lock()

    async def lease(self, call: Call) -> Link:
        """The connection for a call. Raises StoreError if its session is in use."""
        # What read-only mode does to a connection cannot be undone: such a call gets one of its own.
        if not call.session_id or call.read_only:
            return await asyncio.to_thread(self._engine.connect)
        async with self._lock:
            await self._end_expired()
            session = self._sessions.get(call.session_id)
            if session is None:
                session = _Session(await asyncio.to_thread(self._engine.connect), 0.0)
                self._sessions[call.session_id] = session
            if session.busy:
                raise StoreError.of_ours(SESSION_LOCKED, f"session {call.session_id[:60]} is in use by another request")
            session.busy = True
            return session.link

    async def give_back(self, call: Call, link: Link) -> None:
        """The call is over."""
        session = self._sessions.get(call.session_id)
        if session is None or session.link is not link:
            await asyncio.to_thread(link.close)
            return
        try:
            await asyncio.to_thread(link.lift, call.settings)
        except StoreError:  # a session whose settings are in doubt is not used again
            del self._sessions[call.session_id]
            await asyncio.to_thread(link.close)
            return
        session.busy = False
        session.expires = time.monotonic() + call.session_s

    async def _end_expired(self) -> None:
        """End sessions whose time is over, and those that are next if there are too many."""
        now = time.monotonic()
        idle = sorted((session.expires, key) for key, session in self._sessions.items() if not session.busy)
        surplus = len(self._sessions) - SESSION_LIMIT + 1
        for place, (expires, key) in enumerate(idle):
            if expires < now or place < surplus:
                await asyncio.to_thread(self._sessions.pop(key).link.close)
