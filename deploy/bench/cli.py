"""The command `pearlstream bench`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from deploy.bench.sweep import AXES
from pearlstream.errors import EXIT_FINDING

if TYPE_CHECKING:
    from deploy.bench.board import Board

CASES = {
    "simulate": ("simulate", "arrow"),
    "encode": ("encode", "arrow"),
    "encode-json": ("encode", "json"),
    "decode": ("decode", "arrow"),
    "decode-json": ("decode", "json"),
    "admit": ("admit", "arrow"),
    "admit-json": ("admit", "json"),
    "indicate": ("indicate", "arrow"),
    "worker": ("worker", "arrow"),
    "worker-json": ("worker", "json"),
    "sink": ("sink", "arrow"),
    "end": ("end", "arrow"),
}
"""Stages by name: what is measured, and in which encoding."""
SHARED = ("worker", "end")
"""What of it several workers may share."""
PEERS = ("faust-by-the-book",)


@click.command()
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice([*CASES]), help="Only this one; repeatable. Default: all."
)
@click.option("--frame-rows", type=click.IntRange(1, 100_000), default=500, show_default=True, help="Rows in a frame.")
@click.option("--readings", type=click.IntRange(1000), default=1_000_000, show_default=True, help="In one run.")
@click.option("--devices", type=click.IntRange(1), default=12_000, show_default=True, help="In the whole fleet.")
@click.option("--cities", type=click.IntRange(1), default=23, show_default=True, help="The first of the catalogue's.")
@click.option("--feed", "feeds", multiple=True, default=["traffic.flow"], show_default=True, help="Repeatable.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="The median of so many counts.")
@click.option(
    "--sweep", "axes", multiple=True, type=click.Choice([*AXES, "all"]), help="How the cost grows with it; repeatable."
)
@click.option(
    "--workers",
    multiple=True,
    type=click.IntRange(1, 2),
    default=[1],
    show_default=True,
    help="Processes that share the partitions, for the stages worker and end; repeatable, to set one beside the other.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(PEERS),
    help="Set our worker beside this on one broker; no other stage unless it is named.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(
    stages: tuple[str, ...],
    frame_rows: int,
    readings: int,
    devices: int,
    cities: int,
    feeds: tuple[str, ...],
    runs: int,
    axes: tuple[str, ...],
    workers: tuple[int, ...],
    peers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure how fast each stage is, each in a process of its own.

    A run ends with a count of what came out; if it is not what went in, the figure does not count and the exit code
    is 1. With --sweep: how the cost of the stages (by default of `admit`) grows. With --peer: the same job done as the
    documentation of Faust writes it, beside our worker.
    """
    import orjson

    from deploy.bench.board import Board

    load: dict[str, Any] = {
        "readings": readings,
        "frame_rows": frame_rows,
        "devices": devices,
        "cities": cities,
        "feeds": list(feeds),
    }
    _known(feeds)
    board = Board(shown=not as_json)
    if axes:
        _sweep(board, _each(stages or ("admit",), workers), tuple(AXES) if "all" in axes else axes, load, runs)
    elif stages or not peers:
        _stages(board, _each(stages or tuple(CASES), workers), load, runs)
    for peer in peers:
        board.add({"stage": "peer", "name": peer, "runs": runs, "workers": 1, "load": {**load, "encoding": "arrow"}})
    if as_json:
        click.echo(orjson.dumps(board.figures).decode())
    if not board.exact:
        sys.exit(EXIT_FINDING)


def _case(name: str, load: dict[str, Any], runs: int, workers: int) -> dict[str, Any]:
    stage, encoding = CASES[name]
    return {"stage": stage, "name": name, "runs": runs, "workers": workers, "load": {**load, "encoding": encoding}}


def _each(stages: tuple[str, ...], workers: tuple[int, ...]) -> list[tuple[str, int]]:
    """Each stage with each number of workers that it is measured with."""
    counts = tuple(dict.fromkeys(workers))
    return [(name, count) for name in stages for count in (counts if CASES[name][0] in SHARED else (1,))]


def _stages(board: Board, stages: list[tuple[str, int]], load: dict[str, Any], runs: int) -> None:
    first: dict[str, dict[str, Any]] = {}
    for name, count in stages:
        (figure,) = board.add(_case(name, load, runs, count), first.get(name))
        first.setdefault(name, figure)


def _sweep(board: Board, stages: list[tuple[str, int]], axes: tuple[str, ...], load: dict[str, Any], runs: int) -> None:
    from deploy.bench.sweep import Point, drawn, loads

    for name, count in stages:
        for axis in axes:
            points = []
            for value, varied in loads(axis, load):
                (figure,) = board.add(_case(name, varied, runs, count), sweep={"axis": axis, "value": value})
                points.append(Point(value, figure["cpu_s_per_million"], figure["peak_rss_mb"]))
            if board.shown:
                click.echo("\n".join(drawn(axis, points)))


def _known(feeds: tuple[str, ...]) -> None:
    from pearlstream.catalogue import load_catalogue
    from pearlstream.settings import load_settings

    known = load_catalogue(load_settings().catalogue.overlays).feeds
    for feed in feeds:
        if feed not in known:
            raise click.UsageError(f"there is no feed {feed!r}; `pearlstream catalogue list` names them")
