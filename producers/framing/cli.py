"""The commands `pearlstream listen ...`."""

from __future__ import annotations

import signal
import threading

import click

from producers.options import Duration


@click.group()
def listen() -> None:
    """Take readings from live sources of somebody else's."""


@listen.command()
@click.option("--topic", required=True, help="The topic, with one reading as a JSON object in each message.")
@click.option("--source", metavar="HOST:PORT,...", help="Its broker.  [default: ours, by the settings]")
@click.option("--feed", default="", help="The feed of all messages.  [default: as a header or the body says]")
@click.option("--city", default="", help="The city of all messages.  [default: as a header, the body or the key says]")
@click.option("--feed-header", default="feed", show_default=True, help="The header that names the feed.")
@click.option("--city-header", default="city", show_default=True, help="The header that names the city.")
@click.option("--gateway-rows", type=click.IntRange(1, 100_000), default=500, show_default=True, help="In a frame.")
@click.option("--gateway-time", type=Duration(), default="500ms", show_default=True, help="A frame waits so long.")
@click.option("--idle", type=Duration(), help="End after so long without a message.  [default: go on until stopped]")
@click.option("--tick", is_flag=True, help="Drive time under our prefix: a tick each second.")
@click.option("--json", "as_json", is_flag=True, help="Print what was sent on as JSON.")
def kafka(
    topic: str,
    source: str | None,
    feed: str,
    city: str,
    feed_header: str,
    city_header: str,
    gateway_rows: int,
    gateway_time: int,
    idle: int | None,
    tick: bool,
    as_json: bool,
) -> None:
    """Frame a topic of single readings onto `readings`, exactly, until stopped.

    What cannot be read goes on as it is, and `admit` sets it aside with a reason. The windows of indicators close when
    time passes: give --tick if nobody else drives it under this prefix.
    """
    import orjson

    from pearlstream.catalogue import load_catalogue
    from pearlstream.settings import load_settings
    from producers.framing.framer import Envelope, Framer
    from producers.framing.listen import Listening, gateway_of, source_of
    from producers.framing.listen import listen as run

    settings = load_settings()
    catalogue = load_catalogue(settings.catalogue.overlays)
    for name, known, what in ((feed, catalogue.feeds, "feed"), (city, catalogue.cities, "city")):
        if name and name not in known:
            raise click.UsageError(f"there is no {what} {name!r}; `pearlstream catalogue list` names them")
    envelope = Envelope(feed, city, feed_header, city_header)
    framer = Framer(catalogue, envelope, gateway_rows, gateway_of(topic))
    wanted = Listening(
        source=source_of(settings, source),
        topic=topic,
        rows=gateway_rows,
        within_s=gateway_time / 1000,
        idle_s=idle / 1000 if idle is not None else None,
        ticks=tick,
    )
    heard = run(wanted, settings, catalogue, framer, _stop_on_signals())
    if as_json:
        click.echo(orjson.dumps({"messages": heard.messages, "frames": heard.frames, "alone": heard.alone}).decode())
    else:
        click.echo(f"{heard.messages:,} messages in {heard.frames:,} frames, {heard.alone:,} of them alone")


def _stop_on_signals() -> threading.Event:
    """An event that is set by Ctrl-C or SIGTERM: what is in hand is sent and committed, then the command ends."""
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: stop.set())
    return stop
