"""Text from outside: shown safely in messages, cleaned before it is kept, and checked where it is an id."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

ID_PATTERN = "[A-Za-z0-9._:-]{1,64}"
"""What ids of devices and gateways look like."""

_SHOWN_CHARS = 48
_is_id = re.compile(ID_PATTERN).fullmatch


def is_id(text: str) -> bool:
    """Whether `text` may stand as the id of a device, a gateway or a boot."""
    return _is_id(text) is not None


def shown(value: object) -> str:
    """A value from outside as it may stand in a message: ASCII, escaped, cut to 48 characters."""
    if isinstance(value, (list, dict)):
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, (str, bytes)):
        value = value[:_SHOWN_CHARS]
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def told(text: str) -> str:
    """A text that may hold words from outside as it may stand in a message: ASCII, one line, cut to 160 characters."""
    return ascii(text.partition("\n")[0][:160])[1:-1][:160]


def listed(names: Iterable[str]) -> str:
    """Names from outside as a list for a message, the first eight of them."""
    every = list(names)
    tail = f" and {len(every) - 8} more" if len(every) > 8 else ""
    return ", ".join(told(name[:_SHOWN_CHARS]) for name in every[:8]) + tail


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy for an unknown name: the known one that looks like it, else `otherwise`."""
    near = get_close_matches(name[:64], list(known), 1)
    return f"did you mean {near[0]!r}? {otherwise}" if near else otherwise


def clean(text: str) -> str:
    """Free text as it is kept: without control and invisible characters (Cc, Cf), in normal form C. Idempotent."""
    if text.isprintable() and unicodedata.is_normalized("NFC", text):  # neither Cc nor Cf is printable
        return text
    stripped = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFC", stripped)
