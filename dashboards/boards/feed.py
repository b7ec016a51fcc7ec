"""One feed, down to its devices: where they stand, what they last said, and how that went."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards import words
from dashboards.boards.common import board_of, cities_variable, marks
from dashboards.model import Board, Column, Kind, Panel, Section, Tongue, Variable
from dashboards.queries import devices, names
from pearlstream.catalogue import Catalogue
from pearlstream.catalogue.models import Feed


def feed_board(tongue: Tongue, catalogue: Catalogue) -> Board:
    """A section per feed, folded; readings are asked for only in the open ones, and only of the chosen cities."""
    sections = [
        Section(f"{feed.number} {tongue(feed.name)} ({feed.id})", list(_panels(tongue, feed)), folded=True)
        for feed in sorted(catalogue.feeds.values(), key=lambda feed: feed.number)
    ]
    chosen = [cities_variable(tongue, first="440300"), Variable("device", tongue(words.DEVICE), typed=True)]
    return board_of(
        "feed", tongue(words.FEED_BOARD), tongue, catalogue, sections,
        variables=chosen, annotations=marks(tongue, names.CITIES), span="now-1h", refresh="30s",
    )  # fmt: skip


def _panels(tongue: Tongue, feed: Feed) -> Iterator[Panel]:
    quiet = "nothing has happened there" if feed.emits == "events" else ""
    heard_s = round(3 * feed.cadence_s) + feed.hold_s
    if numbers := _measured(feed):
        yield Panel(
            kind=Kind.MAP,
            title=f"{tongue(words.DEVICES_MAP)}: {numbers[0]}",
            width=12,
            height=12,
            queries=(devices.map_of_devices(feed, numbers),),
            unit=feed.fields[numbers[0]].unit,
            columns={"device": Column(tongue(words.DEVICE)), "ts": Column(tongue(words.SINCE))},
            extra={"colour_by": numbers[0], "named_by": "device"},
            no_data=tongue(words.NO_DATA),
            empty=quiet,
            settles_s=heard_s,
        )
        yield Panel(
            kind=Kind.TREND,
            title=f"{tongue(words.RAW)}: {numbers[0]}",
            width=12,
            height=12,
            queries=(devices.device_trend(feed, numbers[0]),),
            unit=feed.fields[numbers[0]].unit,
            no_data=tongue(words.NO_DATA),
            empty=quiet,
            settles_s=heard_s,
        )
    yield Panel(
        kind=Kind.TABLE,
        title=f"{tongue(words.NEWEST)}: {feed.id}",
        width=24,
        height=8,
        queries=(devices.newest_readings(feed),),
        columns={"device": Column(tongue(words.DEVICE)), "ts": Column(tongue(words.SINCE), width=170)},
        no_data=tongue(words.NO_DATA),
        empty=quiet,
        settles_s=heard_s,
    )


def _measured(feed: Feed) -> list[str]:
    """The fields that are worth a look over time: numbers that are no names of things, measured ones first."""
    kinds = {name: spec.type for name, spec in feed.fields.items() if not name.endswith("_id") and name != "span_s"}
    return [name for kind in ("float", "int") for name, own in kinds.items() if own == kind]
