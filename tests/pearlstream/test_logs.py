"""Log lines: one form for all, secrets masked."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pearlstream import logs

CANARY = "hunter2-canary"


class Lines(io.StringIO):
    """A stream that is no terminal, read as JSON lines."""

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Logging set up as a worker has it, put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = Lines()
    logs.configure("debug", stream)
    yield stream
    root.handlers[:], root.level = before[0], before[1]


def test_ours_and_foreign_lines_have_one_form(lines: Lines) -> None:
    logs.get_logger("streams.stage").info("snapshot taken", stage="admit", applied=7)
    logging.getLogger("faust.app").warning("a %s thing", "strange")
    ours, foreign = lines.rows()
    assert (ours["event"], ours["stage"], ours["applied"], ours["level"]) == ("snapshot taken", "admit", 7, "info")
    assert (foreign["event"], foreign["logger"], foreign["level"]) == ("a strange thing", "faust.app", "warning")
    assert ours.keys() >= {"timestamp", "logger"}


def test_foreign_libraries_whisper() -> None:
    stream = Lines()
    logs.configure("info", stream)
    logging.getLogger("aiokafka.consumer").info("joined")
    logs.get_logger("x").debug("detail")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "line",
    [
        lambda log: log.info("connecting", password=CANARY),
        lambda log: log.info("connecting", sasl_plain_password=CANARY, api_key=CANARY),
        lambda log: log.info(f"url http://me:{CANARY}@store:8123/x"),
        lambda log: log.info("header", value=f"Authorization: Bearer {CANARY}"),
        lambda log: log.info("settings", text=f"user=me password={CANARY} host=x"),
        lambda log: log.info("settings", text=f'{{"token": "{CANARY}"}}'),
        lambda log: log.info("failed", error=ValueError(f"password={CANARY}")),
        lambda log: logging.getLogger("kafka").error("cannot log in: sasl_plain_password='%s'", CANARY),
    ],
)
def test_secrets_are_masked(lines: Lines, line: Any) -> None:
    line(logs.get_logger("x"))
    assert lines.getvalue()
    assert CANARY not in lines.getvalue()
    assert logs.MASK in lines.getvalue()


def test_secrets_in_tracebacks_are_masked(lines: Lines) -> None:
    try:
        raise ValueError(f"http://me:{CANARY}@store/ refused")
    except ValueError:
        logs.get_logger("x").exception("broke")
    (row,) = lines.rows()
    assert "ValueError" in row["exception"]
    assert CANARY not in lines.getvalue()


def test_a_terminal_gets_lines_for_people() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    logs.configure("info", stream)
    logs.get_logger("x").info("snapshot taken", stage="admit")
    assert "snapshot taken" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_foreign_library_says_the_same_once_and_then_how_often(lines: Lines) -> None:
    client = logging.getLogger("aiokafka.conn")
    for port in range(100):
        client.error("Unable connect to node with id %s: refused", port)
    client.error("something else")
    logs.get_logger("streams.app").warning("waiting for the broker")
    logs.get_logger("streams.app").warning("waiting for the broker")
    events = [row["event"] for row in lines.rows()]
    assert events == [
        "Unable connect to node with id 0: refused",
        "something else",
        "waiting for the broker",
        "waiting for the broker",
    ]


def test_what_was_left_out_is_counted_when_it_is_said_again() -> None:
    now = [0.0]
    repeats = logs.Repeats(lambda: now[0])

    def said(text: str) -> str | None:
        record = logging.LogRecord("kafka.net", logging.ERROR, "", 0, "%s is gone", (text,), None)
        return record.getMessage() if repeats.filter(record) else None

    assert said("one") == "one is gone"
    assert [said("two") for _ in range(7)] == [None] * 7
    now[0] = logs.SAME_S
    assert said("three") == "three is gone (and 7 more like this)"
    now[0] = 2 * logs.SAME_S
    assert said("four") == "four is gone"
