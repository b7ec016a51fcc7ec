"""All boards in all languages, and the files that hold them.

The files are committed, so that whoever deploys needs neither Python nor the catalogue; a test holds them to what
would be generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from dashboards.boards.alerts import alert_board
from dashboards.boards.city import city_board
from dashboards.boards.feed import feed_board
from dashboards.boards.health import health_board
from dashboards.boards.overview import overview
from dashboards.boards.pipeline import pipeline_board
from dashboards.boards.scenario import scenario_board
from dashboards.boards.tasks import safety_board, task_boards
from dashboards.grafana import dashboard
from dashboards.model import TONGUES, Board, Tongue
from pearlstream.catalogue import Catalogue

FILES = Path(__file__).parent / "grafana_json"
"""Where the committed files stand: a folder per language."""


def boards(catalogue: Catalogue, tongue: Tongue) -> Iterator[Board]:
    """Every board in one language, the overview first."""
    yield overview(tongue, catalogue)
    yield from task_boards(tongue, catalogue)
    yield safety_board(tongue, catalogue)
    yield city_board(tongue, catalogue)
    yield feed_board(tongue, catalogue)
    yield alert_board(tongue, catalogue)
    yield scenario_board(tongue, catalogue)
    yield health_board(tongue, catalogue)
    yield pipeline_board(tongue, catalogue)


def files(catalogue: Catalogue) -> dict[str, bytes]:
    """The files by their path below `FILES`: one per board and language."""
    return {
        f"{tongue.tag}/{board.uid}.json": orjson.dumps(dashboard(board), option=orjson.OPT_INDENT_2) + b"\n"
        for tongue in TONGUES
        for board in boards(catalogue, tongue)
    }


def write(catalogue: Catalogue, folder: Path) -> list[str]:
    """Write the files, take away those of boards that there are no more; the paths that changed."""
    wanted = files(catalogue)
    changed = []
    for path in sorted(folder.glob("*/pearlstream-*.json")):
        name = path.relative_to(folder).as_posix()
        if name not in wanted:
            path.unlink()
            changed.append(name)
    for name, content in wanted.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            changed.append(name)
    return changed
