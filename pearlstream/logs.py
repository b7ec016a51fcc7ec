"""Log lines: structlog over the standard library, for people on a terminal and for machines elsewhere.

Call `configure` once, at the start of a process. Lines of other libraries (faust, mode, aiokafka, kafka) take
the same way: same form, same masking, and never the same warning again and again. A line says what happened as a
sentence, and the facts as fields:

    log = get_logger(__name__)
    log.info("snapshot taken", stage="admit", partition=3, applied=2000)
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog

MASK = "***"
"""What stands in the place of a secret."""

_SECRET_NAME = re.compile(
    r"passw|secret|token|credential|authorization|api_?key|private_?key|sasl_plain", re.IGNORECASE
)
_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{1,20}://)[^/\s@'\"]+@", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<name>[\w.-]*(?:passw\w*|secret\w*|token\w*|api_?key))(?P<mid>['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&)]+",
    re.IGNORECASE,
)
_CHATTY = ("aiokafka", "kafka", "faust", "mode", "asyncio", "aiohttp.access", "urllib3")

SAME_S = 10.0
"""A foreign library says the same thing once in so many seconds."""
_KINDS = 1000
"""Different things that are remembered."""

get_logger = structlog.get_logger


class Repeats(logging.Filter):
    """Lets foreign libraries say the same warning once in a while, and then how often it would have been said.

    The same is what comes from one logger with one template. While a broker is away, its clients would otherwise
    write a hundred lines a second, and ours would drown. `clock` is a steady one, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be shown; what was left out before is added to its text."""
        if record.levelno < logging.WARNING or record.name.partition(".")[0] not in _CHATTY:
            return True
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        if len(self._said) > _KINDS:
            self._said.clear()
        at, more = self._said.get(key, (now - SAME_S, 0))
        if now - at < SAME_S:
            self._said[key] = (at, more + 1)
            return False
        self._said[key] = (now, 0)
        if more:
            record.msg = f"{record.msg} (and {more} more like this)"
        return True


def mask(text: str) -> str:
    """The text with user-info in URLs, bearer tokens and `password=...` made unreadable."""
    text = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _ASSIGNED.sub(rf"\g<name>\g<mid>{MASK}", text)


def mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: mask fields whose name tells of a secret, and secrets inside texts."""
    for name, value in event.items():
        if _SECRET_NAME.search(name) and value not in (None, "", False):
            event[name] = MASK
        elif isinstance(value, str):
            event[name] = mask(value)
        elif isinstance(value, BaseException):
            event[name] = mask(repr(value))
    return event


def _shared() -> list[Any]:
    """Processors that every line passes, ours and foreign ones."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def dict_config(level: str = "info", stream: TextIO | None = None, *, json: bool | None = None) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`, which also Faust's own command line takes.

    `level` is the least severe level shown; `json` None means JSON unless `stream` (default stderr) is a terminal.
    Foreign libraries speak from warning on, and from info on at level debug.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if json is None else json
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, mask_secrets, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [structlog.processors.format_exc_info, mask_secrets, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    foreign = {"debug": "INFO", "error": "ERROR"}.get(level, "WARNING")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "pearlstream": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_shared(), structlog.stdlib.ExtraAdder()],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            }
        },
        "filters": {"repeats": {"()": Repeats}},
        "handlers": {
            "default": {
                "class": "logging.StreamHandler",
                "stream": out,
                "formatter": "pearlstream",
                "filters": ["repeats"],
            }
        },
        "root": {"handlers": ["default"], "level": level.upper()},
        "loggers": {name: {"level": foreign, "propagate": True, "handlers": []} for name in _CHATTY},
    }


def configure(level: str = "info", stream: TextIO | None = None, *, json: bool | None = None) -> None:
    """Set up logging for this process; see `dict_config`. Calling it again replaces what was set."""
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.config.dictConfig(dict_config(level, stream, json=json))


def flush() -> None:
    """Write out what handlers hold back; called before a process ends without saying goodbye."""
    for handler in logging.getLogger().handlers:
        handler.flush()
