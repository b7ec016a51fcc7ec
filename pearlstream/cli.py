"""The root of the command tree: `pearlstream --help` is the map of the product.

Each command lives in the `cli` module of its own folder and is imported when it is called, never before: the
map, with one line per command, stands here, so that help comes at once. A test holds the lines to the commands.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

import click

from pearlstream import __version__
from pearlstream.errors import PearlstreamError

EXIT_INTERRUPTED = 130
"""Exit code: Ctrl-C, as a shell says it."""
EXIT_PIPE = 141
"""Exit code: whoever read our output went away, as a shell says it."""


class Lazy(NamedTuple):
    """A command that is not imported yet: `module:attribute`, and its line on the map."""

    target: str
    line: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, name = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


MAP: Mapping[str, Mapping[str, Lazy]] = {
    "See it": {
        "demo": Lazy("deploy.demo.cli:demo", "Run the whole pipeline on this machine, with a live view."),
        "live": Lazy("dashboards.live.cli:live", "The boards as a page in the browser, without Grafana."),
        "dashboards": Lazy("dashboards.cli:dashboards", "Grafana dashboards, generated from the catalogue."),
    },
    "Put readings in": {
        "simulate": Lazy("producers.simulator.cli:simulate", "Play a scenario of the catalogue into the broker."),
        "listen": Lazy("producers.framing.cli:listen", "Take readings from live sources of somebody else's."),
        "import": Lazy("deploy.history.cli:import_files", "Put recorded readings from CSV FILES into the broker."),
    },
    "Process and store": {
        "worker": Lazy(
            "streams.cli:worker", "Run stream processors: admit readings, compute indicators, raise alerts."
        ),
        "sink": Lazy("sinks.cli:sink", "Write what the streams say into ClickHouse, until stopped."),
        "store": Lazy("sinks.cli:store", "The store: schema, sizes, ledger, repair."),
        "quarantine": Lazy(
            "sinks.quarantine_cli:quarantine", "What could not be used: list, show, send again, set aside."
        ),
        "readings": Lazy("sinks.readings_cli:readings", "Stored readings: take wrong ones back."),
    },
    "Know what is declared": {
        "catalogue": Lazy("pearlstream.catalogue.cli:catalogue", "Cities, feeds, indicators, scenarios."),
    },
    "Try the alert rules": {
        "score": Lazy("deploy.score.cli:score", "Hold the alert rules against the claims of the scenarios."),
        "base": Lazy("deploy.base.cli:base", "What an ordinary hour looks like."),
    },
    "Find what is wrong": {
        "bench": Lazy("deploy.bench.cli:bench", "Measure how fast each stage is, each in a process of its own."),
        "doctor": Lazy("deploy.doctor:doctor", "Check this machine and the settings; say how to mend them."),
        "chaos": Lazy(
            "deploy.chaos.cli:chaos",
            "Break a pipeline of its own under load, again and again, and count what was lost or doubled.",
        ),
    },
}
"""The commands in the order in which somebody new would want them."""

EPILOG = """Start with `pearlstream demo`. Settings come from PEARLSTREAM_... variables and pearlstream.toml;
`pearlstream doctor` lists them. Exit codes: 0 fine, 1 something was found, 2 called wrongly,
70 an effect failed, 75 try again, 78 the configuration forbids it."""


class Root(click.Group):
    """A group whose commands are named in `MAP` and imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the map."""
        del ctx
        return [name for commands in MAP.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if the map does not have it."""
        del ctx
        found = next((commands[cmd_name] for commands in MAP.values() if cmd_name in commands), None)
        return found.load() if found else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown name is answered with the nearest known one."""
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f"Did you mean {near[0]!r}?" if near else "`pearlstream --help` lists the commands."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The map, without importing anything."""
        del ctx
        width = max(len(name) for commands in MAP.values() for name in commands)
        for title, commands in MAP.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), lazy.line) for name, lazy in commands.items()])


@click.group(cls=Root, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pearlstream", message="%(prog)s %(version)s")
def root() -> None:
    """See a city cluster's digital transformation happen: device feeds stream in, live indicators come out."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; failures are told on stderr, each with its remedy."""
    colour: dict[str, Any] = {"color": False} if os.environ.get("NO_COLOR") else {}
    try:
        code = root.main(arguments, prog_name="pearlstream", standalone_mode=False, **colour)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as ended:  # how some commands say their exit code
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return EXIT_INTERRUPTED
    except PearlstreamError as error:
        tell(error)
        return error.exit_code
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter complains on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


def tell(error: PearlstreamError) -> None:
    """Say on stderr what happened and what to do about it, secrets masked."""
    from pearlstream.logs import mask

    plain = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {mask(error.message)}", err=True, color=plain)
    if error.remedy:
        click.echo(f"{click.style('Remedy:', bold=True)} {mask(error.remedy)}", err=True, color=plain)


def main() -> NoReturn:
    """Entry point of the program `pearlstream`."""
    sys.exit(run())


if __name__ == "__main__":
    main()
