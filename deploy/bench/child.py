"""The figures of one case in a process of its own: it comes as JSON on the command line, they go out as JSON."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import orjson

from deploy.bench import placed, pure
from deploy.bench.figures import Figure
from deploy.bench.load import Load
from deploy.bench.peer import compare
from pearlstream.catalogue import load_catalogue
from pearlstream.settings import load_settings


def measure(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of a case `{stage, name, runs, workers, load}`: one, or ours and the peer's."""
    load = Load(**{**case["load"], "feeds": tuple(case["load"]["feeds"])})
    catalogue = load_catalogue(load_settings().catalogue.overlays)
    stage, name, runs, workers = (case[key] for key in ("stage", "name", "runs", "workers"))
    if stage == "peer":
        ours, theirs = compare.measure(load, runs, catalogue)
        single = replace(load, encoding="json", frame_rows=1, readings=min(load.readings, compare.READINGS))
        return [_told(ours, "worker", load, 1), _told(theirs, name, single, 1)]
    if stage in placed.STAGES:
        return [_told(placed.measure(stage, load, runs, catalogue, workers), name, load, workers)]
    return [_told(pure.measure(stage, load, runs, catalogue), name, load, 1)]


def _told(figure: Figure, name: str, load: Load, workers: int) -> dict[str, Any]:
    about = {"encoding": load.encoding, "frame_rows": load.frame_rows, "feeds": list(load.feeds), "workers": workers}
    about |= {"readings": load.readings, "devices": load.devices, "cities": load.cities}
    return {**about, **figure.as_json(), "stage": name}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(measure(orjson.loads(sys.argv[1]))))
