"""A hostile frame must not grow into a message that nobody can send: that would stop the stream for ever."""

from __future__ import annotations

import numpy as np

from pearlstream.catalogue import load_catalogue
from pearlstream.frame import ARROW, JSON, encode_arrow, encode_json_columns, frame_headers
from pearlstream.frame.limits import MESSAGE_BYTES, ROWS
from pearlstream.testing.world import T0, World, headers_by_name
from pearlstream.topics import ROLES

CITY, ROAD, MACHINE = "440300", "traffic.flow", "factory.machine"
CATALOGUE = load_catalogue()


def sendable(world: World) -> dict[str, int]:
    """The accepted rows, after all outputs were found to fit their topics."""
    outputs = world.admit()
    for output in outputs:
        assert len(output.value) < ROLES[output.target].max_message_bytes - 64_000, output.target
    accepted = [headers_by_name(output) for output in outputs if output.target == "accepted"]
    return {name: sum(int(h[name]) for h in accepted) for name in ("rows", "accepted")}


def test_a_frame_whose_every_row_falls_into_another_pane_still_gives_partials_that_can_be_sent() -> None:
    world = World(CATALOGUE)
    world.register(ROAD, CITY, 4, freeflow_kmh=50.0, seg_len_m=1000.0)
    world.tick(0)
    rng = np.random.default_rng(1)
    ts = T0 - np.arange(ROWS, dtype=np.int64) * 850
    columns = {"device": ["d0"] * ROWS, "ts": ts[::-1], "seq": np.arange(ROWS, dtype=np.uint64)}
    columns |= {"flow_vpm": rng.random(ROWS) * 100, "speed_kmh": rng.random(ROWS) * 100 + 1}
    value = encode_arrow(CATALOGUE.feeds[ROAD], columns)
    assert len(value) < MESSAGE_BYTES
    world.raw(CITY, value, *frame_headers(CATALOGUE.feeds[ROAD], ARROW, "g", None, sim=True))
    world.tick(10_000)
    assert sendable(world) == {"rows": ROWS, "accepted": ROWS}


def test_a_small_json_frame_that_unfolds_into_a_large_one_is_folded_up_again() -> None:
    world = World(CATALOGUE)
    world.register(MACHINE, CITY, 1)
    world.tick(0)
    feed = CATALOGUE.feeds[MACHINE]
    rows = 45_000
    columns = {
        "device": "d0",
        "ts": [T0 + n % 10_000 for n in range(rows)],
        "seq": list(range(rows)),
        "state": "PLANNED",
    }
    columns |= dict.fromkeys(("span_s", "pri_s", "power_kw", "vib_mms"), 1.0) | {"good_inc": 1, "rej_inc": 1}
    value = encode_json_columns(feed, CITY, columns)
    world.raw(CITY, value, *frame_headers(feed, JSON, "g", None, sim=True))
    world.tick(10_000)
    assert sendable(world) == {"rows": rows, "accepted": rows}
