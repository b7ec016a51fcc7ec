"""The HTTP endpoint over the engine: what clients of ClickHouse ask, answered as they expect."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from aiohttp import web

from deploy.embedded.store.bodies import BODY_LIMIT_BYTES, Packer, accepted
from deploy.embedded.store.calls import Call, Sessions, read_call
from deploy.embedded.store.door import Door
from deploy.embedded.store.engine import Answer, Engine, Link, Stream
from deploy.embedded.store.faults import SYNTAX_ERROR, TOO_LARGE, UNKNOWN_EXCEPTION, StoreError
from deploy.embedded.store.hello import hello_block
from deploy.embedded.store.replies import Replies, new_tag
from deploy.embedded.store.statements import (
    DEFAULT_FORMAT,
    DataInsert,
    Statement,
    read_insert,
    read_statement,
)

log = logging.getLogger("pearlstream.store")

_HEAD_BYTES = 1024 * 1024
"""Where an INSERT's head must end."""
_SQL_LIMIT_BYTES = 16 * 1024 * 1024
_PACK_FROM_BYTES = 512

_A = TypeVarTuple("_A")
_R = TypeVar("_R")


class Endpoint:
    """Answers requests by asking the engine, on a few threads of its own."""

    def __init__(self, engine: Engine, door: Door, *, threads: int = 8, limit_bytes: int = BODY_LIMIT_BYTES) -> None:
        self._engine = engine
        self._door = door
        self._limit = limit_bytes
        self._replies = Replies(engine)
        self._sessions = Sessions(engine)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._running: set[asyncio.Task[web.StreamResponse]] = set()

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=0)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/", self._query)
        app.router.add_post("/", self._query)
        return app

    async def finish(self, timeout_s: float = 5.0) -> None:
        """Wait for requests under way."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=timeout_s)

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        """The engine was opened before we listen, so whoever hears this may go ahead."""
        try:
            self._door.check_address(request)
        except StoreError as error:
            return self._replies.error(error)
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.StreamResponse:
        try:
            self._door.check_address(request)
            if not request.query_string and request.method == "GET":
                return web.Response(text="Ok.\n")  # what ClickHouse says to a look at its root
            self._door.check_password(request)
            call = await read_call(request, self._engine, self._limit)
        except StoreError as error:
            # The body may not have been read: what follows on this connection could be anything.
            reply = self._replies.error(error)
            reply.force_close()
            return reply
        task = asyncio.create_task(self._answer(request, call))
        self._running.add(task)
        task.add_done_callback(self._done)
        try:
            # A client that goes away ends this handler, not the statement: an insert is done or not done.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            log.info("client gone, %s", call.query_id)
            await asyncio.to_thread(self._engine.kill, call.mark)
            raise

    def _done(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("not answered: %r", error)  # the client is gone, nobody else would hear of it

    async def _answer(self, request: web.Request, call: Call) -> web.StreamResponse:
        try:
            link = await self._sessions.lease(call)
            try:
                return await self._answer_over(link, request, call)
            finally:
                await self._sessions.give_back(call, link)
        except StoreError as error:
            return self._replies.error(error, call.query_id)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("bug in the endpoint")
            fault = StoreError.of_ours(UNKNOWN_EXCEPTION, f"{type(error).__name__}: {error}")
            return self._replies.error(fault, call.query_id)
        finally:
            call.close()

    async def _answer_over(self, link: Link, request: web.Request, call: Call) -> web.StreamResponse:
        task = await self._on_thread(self._understand, call)
        if not isinstance(task, DataInsert):
            # Found again by its mark if it has to be stopped; an insert is never stopped halfway.
            call.settings["log_comment"] = call.mark
        await self._on_thread(functools.partial(link.lay, call.settings, call.database, read_only=call.read_only))
        if isinstance(task, DataInsert):
            answer = await self._on_thread(self._insert, link, call, task)
            headers = self._replies.headers(call.query_id) | self._replies.summary(answer, wrote=True)
            return web.Response(headers=headers)
        if task.hello and task.format == "Native":
            engine = self._engine
            block = hello_block(engine.display_name, engine.version, engine.timezone)
            return self._whole(request, call, Answer(block, 1, len(block), 0), "Native")
        await self._on_thread(self._take_tables, link, call)
        if task.streams and not call.wait:
            return await self._stream(link, request, call, task)
        answer = await self._on_thread(link.ask, task.sql, task.format, call.parameters)
        if call.session_id:
            await self._on_thread(_remember, link, task)
        return self._whole(request, call, answer, task.format if task.answers or answer.body else "")

    def _understand(self, call: Call) -> Statement | DataInsert:
        """Unpack the body and read the SQL: the query string first, then the body, as one text."""
        call.body = call.body.unpacked(call.encoding, self._engine.incoming)
        query = _as_bytes(call.query)
        joined = query + b"\n" if query else b""
        head = joined + call.body.head(_HEAD_BYTES)
        insert = read_insert(head, self._engine.guard)
        if insert is not None:
            return insert
        if call.body.size > _SQL_LIMIT_BYTES:
            raise StoreError.of_ours(TOO_LARGE, f"the statement is larger than {_SQL_LIMIT_BYTES >> 20} MiB")
        sql = joined + call.body.head(call.body.size) if call.body.size > _HEAD_BYTES else head
        return read_statement(sql, self._engine.guard, call.default_format or DEFAULT_FORMAT)

    def _insert(self, link: Link, call: Call, insert: DataInsert) -> Answer:
        """Insert the rows of the body, by way of a file that the engine reads."""
        query = _as_bytes(call.query)
        before = len(query) + 1 if query else 0
        prefix = (query + b"\n")[insert.data_start :] if insert.data_start < before else b""
        start = max(0, insert.data_start - before)
        return self._insert_body(link, insert, call, prefix, start)

    def _insert_body(self, link: Link, insert: DataInsert, call: Call, prefix: bytes, start: int) -> Answer:
        if insert.format.upper() == "VALUES":
            # The engine takes expressions here, so these rows are SQL like any other.
            if call.body.size > _SQL_LIMIT_BYTES:
                raise StoreError.of_ours(TOO_LARGE, "too many VALUES; insert Arrow, Native or JSONEachRow")
            self._engine.guard.check(prefix + call.body.head(call.body.size)[start:])
        path = self._engine.incoming / f"{secrets.token_hex(8)}.bin"
        call.body.save(path, prefix, start)
        try:
            sql = insert.from_file(f"{self._engine.incoming.name}/{path.name}")
            return link.ask(sql, DEFAULT_FORMAT, call.parameters)
        finally:
            path.unlink(missing_ok=True)

    def _take_tables(self, link: Link, call: Call) -> None:
        """Make the tables that came with the query, for this connection alone."""
        guard = self._engine.guard
        for table in call.external:
            name = f"`{table.name}`".encode()
            create = b"CREATE TEMPORARY TABLE %b (%b)" % (name, table.structure.encode())
            link.ask(read_statement(create, guard, DEFAULT_FORMAT).sql, "Null")
            head = read_insert(b"INSERT INTO %b FORMAT %b\n" % (name, table.format.encode()), guard)
            if head is None:
                raise StoreError.of_ours(SYNTAX_ERROR, f"format of the table {table.name!r}")
            rows = Call(**{**vars(call), "body": table.body, "external": []})
            self._insert_body(link, head, rows, b"", 0)

    def _whole(self, request: web.Request, call: Call, answer: Answer, fmt: str) -> web.Response:
        wish = accepted(request.headers.get("Accept-Encoding", "")) if call.pack else ""
        packer = Packer(wish if len(answer.body) >= _PACK_FROM_BYTES else "")
        headers = self._replies.headers(call.query_id, fmt=fmt, packed=packer.name)
        headers |= self._replies.summary(answer, wrote=False)
        return web.Response(headers=headers, body=packer.pack(answer.body) + packer.end())

    async def _stream(self, link: Link, request: web.Request, call: Call, statement: Statement) -> web.StreamResponse:
        stream = await self._on_thread(link.stream, statement.sql, statement.format, call.parameters)
        try:
            first = await self._on_thread(stream.next)  # most errors show here, while the status is open
            if first is None:
                return self._whole(request, call, Answer(b"", 0, 0, 0), statement.format)
            packer = Packer(accepted(request.headers.get("Accept-Encoding", "")) if call.pack else "")
            headers = self._replies.headers(call.query_id, fmt=statement.format, packed=packer.name)
            tag = headers["X-ClickHouse-Exception-Tag"] = new_tag()
            reply = web.StreamResponse(headers=headers)
            await reply.prepare(request)
            await self._pour(reply, stream, first, packer, tag)
            return reply
        finally:
            await self._on_thread(stream.close)

    async def _pour(self, reply: web.StreamResponse, stream: Stream, first: bytes, packer: Packer, tag: str) -> None:
        block: bytes | None = first
        try:
            while block is not None:
                await _write(reply, packer.pack(block))
                block = await self._on_thread(stream.next)
        except StoreError as error:
            await _write(reply, packer.pack(self._replies.late_error(error, tag)))
            reply.force_close()
        await _write(reply, packer.end())
        # The end itself is sent when we return: by then the session is free for what the client asks next.

    async def _on_thread(self, work: Callable[[*_A], _R], *arguments: *_A) -> _R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _remember(link: Link, statement: Statement) -> None:
    """In a session, SET and USE hold on."""
    names = tuple(name for name in statement.assigned if not name.startswith("param_"))
    if names:
        link.keep(names)
    if statement.verb == b"USE":
        link.keep_database()


def _write(reply: web.StreamResponse, data: bytes) -> Awaitable[None]:
    return reply.write(data) if data else asyncio.sleep(0)


def _as_bytes(query: str) -> bytes:
    return query.encode("utf-8", "surrogateescape")
