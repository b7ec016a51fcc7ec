"""The command `pearlstream bench`."""

from __future__ import annotations

import sys
from typing import Any

import click

from deploy.bench.sweep import AXES
from pearlstream.errors import EXIT_FINDING

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
    as_json: bool,
) -> None:
    """Measure how fast each stage is, each in a process of its own.

    A run ends with a count of what came out; if it is not what went in, the figure does not count and the exit code
    is 1. With --sweep: how the cost of the stages (by default of `admit`) grows.
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
    board = Board(told=not as_json)
    if axes:
        _sweep(board, stages or ("admit",), tuple(AXES) if "all" in axes else axes, load, runs)
    else:
        for name in stages or CASES:
            board.add(_case(name, load, runs))
    if as_json:
        click.echo(orjson.dumps(board.figures).decode())
    if not board.exact:
        sys.exit(EXIT_FINDING)


def _case(name: str, load: dict[str, Any], runs: int) -> dict[str, Any]:
    stage, encoding = CASES[name]
    return {"stage": stage, "name": name, "runs": runs, "load": {**load, "encoding": encoding}}


def _sweep(board: Any, stages: tuple[str, ...], axes: tuple[str, ...], load: dict[str, Any], runs: int) -> None:
    from deploy.bench.sweep import Point, drawn, loads

    for name in stages:
        for axis in axes:
            points = []
            for value, varied in loads(axis, load):
                figure = board.add(_case(name, varied, runs), sweep={"axis": axis, "value": value})
                points.append(Point(value, figure["cpu_s_per_million"], figure["peak_rss_mb"]))
            if board.told:
                click.echo("\n".join(drawn(axis, points)))


def _known(feeds: tuple[str, ...]) -> None:
    from pearlstream.catalogue import load_catalogue
    from pearlstream.settings import load_settings

    known = load_catalogue(load_settings().catalogue.overlays).feeds
    for feed in feeds:
        if feed not in known:
            raise click.UsageError(f"there is no feed {feed!r}; `pearlstream catalogue list` names them")
