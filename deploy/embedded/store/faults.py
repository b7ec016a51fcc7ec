"""What the store says when it says no: ClickHouse's error codes, and the HTTP status that goes with each."""

from __future__ import annotations

import re

SYNTAX_ERROR = 62
READONLY = 164
TOO_LARGE = 223
NO_ROOM = 243
SESSION_LOCKED = 373
NOT_IMPLEMENTED = 48
ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
CANNOT_DECOMPRESS = 271
BAD_ARGUMENTS = 36
UNKNOWN_EXCEPTION = 1002

_NAMES = {
    SYNTAX_ERROR: "SYNTAX_ERROR",
    READONLY: "READONLY",
    TOO_LARGE: "QUERY_IS_TOO_LARGE",
    NO_ROOM: "NOT_ENOUGH_SPACE",
    SESSION_LOCKED: "SESSION_IS_LOCKED",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}

# As ClickHouse's own server maps them; 500 for all others. Clients repeat 429, 503 and 504 by themselves.
_STATUS = {
    **dict.fromkeys((6, 27, 36, 38, 41, 43, 53, 62, 69, 70, 72, 168, 306, 386, 456, 457), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 80, 81, 115, 137), 404),
    **dict.fromkeys((164, 192, 193, 291, 452, 497, 516), 403),
    159: 408,
    223: 413,
    48: 501,
}

_CODE = re.compile(r"Code: (\d+)\.")


class StoreError(Exception):
    """A request is answered with an error: ClickHouse's `code`, and a text in the form of its own."""

    def __init__(self, code: int, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status if status is not None else _STATUS.get(code, 500)
        self.text = message

    @classmethod
    def of_ours(cls, code: int, message: str, *, status: int | None = None) -> StoreError:
        """An error that the endpoint itself raises, written as the engine would write it."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({_NAMES[code]})", status=status)

    @classmethod
    def of_engine(cls, error: Exception) -> StoreError:
        """What chDB raised: its code is found in its text, any wrapping before it is cut off."""
        text = str(error).strip()
        found = _CODE.search(text)
        if found is None:
            return cls.of_ours(UNKNOWN_EXCEPTION, text or type(error).__name__)
        return cls(int(found.group(1)), text[found.start() :])
