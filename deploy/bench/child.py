"""One figure in a process of its own: the case comes as JSON on the command line, the figure goes out as JSON."""

from __future__ import annotations

import sys
from typing import Any

import orjson

from deploy.bench import placed, pure
from deploy.bench.load import Load
from pearlstream.catalogue import load_catalogue
from pearlstream.settings import load_settings


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """The figure of a case `{stage, name, runs, load}`."""
    load = Load(**{**case["load"], "feeds": tuple(case["load"]["feeds"])})
    catalogue = load_catalogue(load_settings().catalogue.overlays)
    where = placed if case["stage"] in placed.STAGES else pure
    figure = where.measure(case["stage"], load, case["runs"], catalogue)
    about = {"encoding": load.encoding, "frame_rows": load.frame_rows, "feeds": list(load.feeds)}
    about |= {"readings": load.readings, "devices": load.devices, "cities": load.cities}
    return {**about, **figure.as_json(), "stage": case["name"]}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(measure(orjson.loads(sys.argv[1]))))
