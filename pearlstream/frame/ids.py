"""Ids of devices: checked once per device, not once per reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from pearlstream.catalogue.models import Feed
from pearlstream.frame.findings import Findings, Flaw
from pearlstream.frame.text import ID_PATTERN, is_id, shown


def bad_ids(feed: Feed, devices: Any, rows: Iterable[int] | None = None) -> list[Flaw]:
    """Flaws (`bad_id`) of the rows whose device is no id. `devices`: the column, or a batch that begins with it.

    `rows`: look at these only, for example at those of devices that were never seen; a device that was accepted once
    need not be looked at again.
    """
    found = Findings(feed.id)
    devices = devices.column(0) if isinstance(devices, pa.RecordBatch) else devices
    some = range(len(devices)) if rows is None else list(rows)
    ids = devices if rows is None else devices.take(pa.array(some, pa.int64()))
    for row, device in zip(some, ids.to_pylist(), strict=True):
        if device is not None and not is_id(device):
            found.flaw(row, "bad_id", "device", f"got {shown(device)}", f"send an id like {ID_PATTERN}")
    return found.flaws()
