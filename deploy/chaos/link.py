"""A cable between one client and its brokers (or any server on loopback) that can be cut, and stalled.

A client is given the cable's address in place of the broker's. Brokers tell their clients under which addresses
they are to be reached, so these are exchanged for the cable's own in what the broker answers: an address is a host
and four bytes of port, and stays as long as it was. Records that go by are left alone.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deploy.embedded.ports import LOOPBACK

CHUNK = 64 << 10
"""Bytes passed on at once; an answer longer than this holds records, not addresses."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def wire(self) -> bytes:
        """As the Kafka protocol writes it: the host's text, then the port."""
        return self.host.encode() + struct.pack(">i", self.port)


@dataclass(eq=False)
class _Pair:
    """One connection through the cable."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass(eq=False)
class Link:
    """A cable to the servers at `targets`. Use from any thread; `close` it at the end.

    `kafka`: what comes back is the Kafka protocol, and addresses in it are exchanged.
    """

    targets: Sequence[Address]
    kafka: bool = True
    addresses: dict[Address, Address] = field(default_factory=dict)
    """The cable's end for each target."""
    connections: int = 0
    """How many connections were made through it."""

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pairs: set[_Pair] = set()
        self._is_cut = False
        self._flowing: asyncio.Event
        threading.Thread(target=self._run, name="cable", daemon=True).start()
        self._call(self._listen())

    @property
    def address(self) -> str:
        """Where a client is to connect to, all ends, as bootstrap servers are written."""
        return ",".join(str(self.addresses[target]) for target in self.targets)

    def cut(self) -> None:
        """Break every connection and refuse new ones, until `mend`."""
        self._call(self._cut())

    def stall(self) -> None:
        """Let nothing through in either direction, and keep the connections, until `mend`."""
        self._call(self._set(flowing=False))

    def mend(self) -> None:
        """Let everything through again."""
        self._call(self._set(flowing=True))

    def close(self) -> None:
        """Break everything and give the ports back."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    # --- in the loop's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._servers = []
        for target in self.targets:
            server = await asyncio.start_server(self._joiner(target), LOOPBACK, 0, limit=CHUNK)
            self._servers.append(server)
            self.addresses[target] = Address(target.host, server.sockets[0].getsockname()[1])

    def _joiner(self, target: Address) -> Any:
        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._join(target, reader, writer)

        return join

    async def _join(self, target: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            back, forth = await asyncio.open_connection(*target, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, forth)
        self._pairs.add(pair)
        self.connections += 1
        answers = self._answers if self.kafka else self._pass
        await asyncio.gather(self._pass(reader, forth), answers(back, writer), return_exceptions=True)
        pair.cut()
        self._pairs.discard(pair)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes as they are, until one side ends."""
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._send(writer, data)
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers of a broker one by one, the short ones with addresses exchanged."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = await reader.readexactly(4)
                left = int.from_bytes(size, "big")
                if left <= CHUNK:
                    await self._send(writer, size + self._exchanged(await reader.readexactly(left)))
                    continue
                await self._send(writer, size)
                while left:
                    data = await reader.readexactly(min(left, CHUNK))
                    left -= len(data)
                    await self._send(writer, data)
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await self._flowing.wait()
        writer.write(data)
        await writer.drain()

    def _exchanged(self, answer: bytes) -> bytes:
        for target, ours in self.addresses.items():
            answer = answer.replace(target.wire, ours.wire)
        return answer

    async def _cut(self) -> None:
        self._is_cut = True
        for pair in list(self._pairs):
            pair.cut()

    async def _set(self, *, flowing: bool) -> None:
        if flowing:
            self._is_cut = False
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        await self._cut()
        self._flowing.set()
