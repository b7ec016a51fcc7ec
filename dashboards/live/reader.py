"""Asks the store on threads of its own, and asks only: whatever a query says, nothing can be written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pearlstream.settings import ClickHouse
from pearlstream.store import Store, StoreError

LIMITS: Mapping[str, int] = {"max_execution_time": 30, "max_result_rows": 500_000}


class Reader:
    """Calls give the rows of a SELECT and raise StoreError. `threads`: so many questions at a time."""

    def __init__(self, settings: ClickHouse, *, threads: int = 3) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._own = threading.local()

    async def __call__(self, sql: str) -> list[dict[str, Any]]:
        """The rows by column name."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._rows, sql)

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        if not hasattr(self._own, "store"):
            self._own.store = Store(self._settings, inside=True)
            self._own.limits = None
        store: Store = self._own.store
        try:
            if self._own.limits is None:
                self._own.limits = _limits(store)
            return store.dicts(sql, settings=self._own.limits)
        except StoreError:
            store.close()  # connects anew the next time
            raise

    def close(self) -> None:
        """Wait for nobody any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _limits(store: Store) -> dict[str, int]:
    """Settings of every query. A user that may only read anyway cannot change any (`readonly` 1)."""
    allowed = int(store.query("SELECT getSetting('readonly')")[0][0])
    return {} if allowed == 1 else {"readonly": 2, **LIMITS}
