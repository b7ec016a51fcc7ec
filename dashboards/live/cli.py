"""The command `pearlstream live`."""

from __future__ import annotations

import click

from dashboards.model import TONGUES


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="0: any free one.  [default: as PEARLSTREAM_LIVE__PORT]")
@click.option(
    "--lang", type=click.Choice([tongue.tag for tongue in TONGUES]), help="First language.  [default: the browser's]"
)
def live(host: str, port: int | None, lang: str | None) -> None:
    """The boards as a page in the browser, without Grafana.

    Shows any moment that the store holds and follows the newest. Asks the store that the settings
    PEARLSTREAM_CLICKHOUSE__... name, and writes nothing. On an address that others reach it wants a token:
    PEARLSTREAM_LIVE__TOKEN.
    """
    from dashboards.live.run import serve
    from pearlstream.catalogue import load_catalogue
    from pearlstream.logs import configure
    from pearlstream.settings import load_settings

    settings = load_settings()
    configure(settings.log.level)
    catalogue = load_catalogue(settings.catalogue.overlays)
    serve(
        settings,
        catalogue,
        host=host,
        port=settings.live.port if port is None else port,
        tag=lang or "",
        ready=lambda address: click.echo(f"live view: {address}"),
    )
