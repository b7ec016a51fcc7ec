"""The store: a ClickHouse client made from the settings, with its failures in our words.

The embedded store (chDB behind an HTTP endpoint) and a ClickHouse server are reached alike. Nothing here
knows a table; SQL about tables is the business of `sinks.clickhouse`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import urllib3.exceptions
from clickhouse_connect.driver.exceptions import ClickHouseError, NotSupportedError, ProgrammingError

from pearlstream.errors import EXIT_CONFIG, EXIT_IO, EXIT_TRY_AGAIN, ServiceError, SettingsError
from pearlstream.settings import ClickHouse

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 120
ALIKE = ("http", "https")


class Trouble(Enum):
    """What kind of failure the store reports, by what can be done about it."""

    AWAY = "away"
    """Not reachable, overloaded, or in doubt whether it was done: try the same again."""
    FULL = "full"
    """Disk full or read-only: try again later, and call somebody at once."""
    MERGING = "merging"
    """Too many parts: wait, and send fewer, larger inserts."""
    MEMORY = "memory"
    """Not enough memory for this request: wait, and send smaller inserts."""
    SCHEMA = "schema"
    """A database, table or column is not as expected: migrate."""
    DENIED = "denied"
    """Wrong user or password, or a missing grant: mend the settings."""
    REFUSED = "refused"
    """Anything else: the statement or its data are wrong, trying again does not help."""


_BY_CODE: Mapping[Trouble, tuple[int, ...]] = {
    Trouble.AWAY: (159, 202, 209, 210, 236, 279, 319, 394, 425, 999),
    Trouble.FULL: (242, 243, 499),
    Trouble.MERGING: (252,),
    Trouble.MEMORY: (241,),
    Trouble.SCHEMA: (8, 10, 16, 20, 36, 44, 47, 50, 53, 60, 70, 81),
    Trouble.DENIED: (164, 192, 193, 194, 497, 516),
}
_TROUBLES = {code: trouble for trouble, codes in _BY_CODE.items() for code in codes}

_REMEDIES = {
    Trouble.AWAY: "check that it runs and that PEARLSTREAM_CLICKHOUSE__URL leads to it",
    Trouble.FULL: "free disk space or lift the read-only mode; nothing is lost meanwhile",
    Trouble.MERGING: "it merges behind; if it stays so, raise PEARLSTREAM_SINK__FLUSH_S",
    Trouble.MEMORY: "give the store more memory",
    Trouble.SCHEMA: "run `pearlstream store migrate`",
    Trouble.DENIED: "check PEARLSTREAM_CLICKHOUSE__USER, __PASSWORD and the grants of that user",
    Trouble.REFUSED: "please report it with the message above",
}

_EXITS = {Trouble.DENIED: EXIT_CONFIG, Trouble.SCHEMA: EXIT_TRY_AGAIN}


class StoreError(ServiceError):
    """The store failed or said no. `code` is ClickHouse's own (None: it did not answer), `trouble` what it means."""

    def __init__(self, message: str, *, trouble: Trouble, code: int | None = None) -> None:
        super().__init__(message, remedy=_REMEDIES[trouble])
        self.trouble = trouble
        self.code = code
        self.exit_code = _EXITS.get(trouble, EXIT_IO)


class Store:
    """One connection's worth of a store; make one per thread.

    Connects at the first use and again after a failure, so that it can be made while the store is away. Every
    method raises StoreError and nothing else of the driver's. `inside`: a table without a database is one of the
    settings' database, which must be there.
    """

    def __init__(self, settings: ClickHouse, *, inside: bool = False) -> None:
        self.database = settings.database
        self._inside = inside
        self._settings = settings
        self._client: Any = None
        self._address = _address(settings)

    @property
    def client(self) -> Any:
        """The clickhouse-connect client, for what this class does not offer."""
        if self._client is None:
            with _our_words(self.where):
                self._client = self._connect()
        return self._client

    @property
    def where(self) -> str:
        """The address without user and password, for messages."""
        host, port, secure = self._address
        return f"{'https' if secure else 'http'}://{host}:{port}"

    def _connect(self) -> Any:
        host, port, secure = self._address
        return clickhouse_connect.get_client(
            host=host,
            port=port,
            secure=secure,
            database=self.database if self._inside else None,
            username=self._settings.user,
            password=self._settings.password.get_secret_value(),
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=READ_TIMEOUT_S,
            autogenerate_session_id=False,
            client_name="pearlstream",
            compress=False,
        )

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of a SELECT. Values go as `{name:Type}` parameters, never into the text."""
        client = self.client
        with _our_words(self.where):
            found = client.query(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))
            return [tuple(row) for row in found.result_rows]

    def dicts(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a SELECT as dictionaries by column name."""
        client = self.client
        with _our_words(self.where):
            found = client.query(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))
            return [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]

    def arrow(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """The result of a SELECT as an Arrow table."""
        client = self.client
        with _our_words(self.where):
            return client.query_arrow(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run a statement that gives nothing back (DDL)."""
        client = self.client
        with _our_words(self.where):
            client.command(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))

    def insert(
        self, table: str, columns: Sequence[str], body: bytes, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Insert an Arrow stream into a table (qualified and quoted by the caller), in one request."""
        client = self.client
        with _our_words(self.where):
            client.raw_insert(
                table, column_names=list(columns), insert_block=body, settings=dict(settings or {}), fmt="ArrowStream"
            )

    def close(self) -> None:
        """Give the connection back. The object may be used again and then connects anew."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _address(settings: ClickHouse) -> tuple[str, int, bool]:
    """Host, port and whether TLS is wanted. Raises SettingsError if the address is not one."""
    parts = urlsplit(settings.url)
    if parts.scheme not in ALIKE or not parts.hostname:
        raise SettingsError(
            "setting PEARLSTREAM_CLICKHOUSE__URL is no address of a store", remedy="write it like http://127.0.0.1:8123"
        )
    if parts.username or parts.password:
        raise SettingsError(
            "setting PEARLSTREAM_CLICKHOUSE__URL holds a user or password",
            remedy="use PEARLSTREAM_CLICKHOUSE__USER and __PASSWORD, which are never shown",
        )
    secure = parts.scheme == "https"
    return parts.hostname, parts.port or (8443 if secure else 8123), secure


@contextmanager
def _our_words(where: str) -> Iterator[None]:
    """Turn failures of the driver into StoreError."""
    try:
        yield
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        trouble = _trouble(error, code)
        raise StoreError(f"the store at {where}: {_shortened(error)}", trouble=trouble, code=code) from None
    except (OSError, urllib3.exceptions.HTTPError) as error:
        raise StoreError(f"the store at {where} cannot be reached: {error}", trouble=Trouble.AWAY) from None


def _trouble(error: Exception, code: int | None) -> Trouble:
    if code is not None:
        return _TROUBLES.get(code, Trouble.REFUSED)
    # Without a code the driver itself complains, or nobody answered.
    return Trouble.REFUSED if isinstance(error, ProgrammingError | NotSupportedError) else Trouble.AWAY


def _shortened(error: Exception, limit: int = 600) -> str:
    """The driver's message on one line, without the statement that it may repeat at length."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else f"{text[:limit]}..."
