"""What can go wrong, as words.

PearlstreamError                  everything we raise on purpose; says what, where, and the remedy
├── CatalogueError                a declaration is wrong (file, key, line)
│   └── TermError                 a formula or term is outside the whitelist
├── SettingsError                 a setting is missing, malformed or contradicts another
├── ServiceError                  a part cannot be started or reached (broker, store, port, folder)
├── FrameError                    bytes from outside cannot be read as a frame (carries a reason code)
├── PositionError                 a source range contradicts what was applied: a bug of ours
├── RegistryMissing               a tick names a device registry that has not arrived
└── DriverConflict                somebody else drives time under this prefix
"""

from __future__ import annotations

EXIT_FINDING = 1
"""Exit code: the command worked and found something wrong."""
EXIT_USAGE = 2
"""Exit code: the command was called wrongly."""
EXIT_IO = 70
"""Exit code: an effect failed (send, insert); restart cures it, nothing was acknowledged."""
EXIT_TRY_AGAIN = 75
"""Exit code: something that must come first is not there yet."""
EXIT_CONFIG = 78
"""Exit code: the configuration forbids starting."""


class PearlstreamError(Exception):
    """A failure with its remedy.

    `message` says what happened and to what; `remedy` says what to do about it.
    """

    exit_code = EXIT_FINDING

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class CatalogueError(PearlstreamError):
    """A declaration in the catalogue is wrong."""

    exit_code = EXIT_CONFIG


class TermError(CatalogueError):
    """A term or formula uses something outside the whitelist or an unknown name."""


class SettingsError(PearlstreamError):
    """A setting is missing, malformed or contradicts another."""

    exit_code = EXIT_CONFIG


class ServiceError(PearlstreamError):
    """A part of the pipeline cannot be started or reached."""

    exit_code = EXIT_IO


class FrameError(PearlstreamError):
    """Bytes from outside cannot be read as a frame.

    `reason` is the code under which the frame goes to quarantine; `rows` is the number of rows that
    could be seen before reading stopped (0 if none).
    """

    def __init__(self, reason: str, message: str, *, remedy: str = "", rows: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.rows = rows


class PositionError(PearlstreamError):
    """A source range overlaps what was applied: outputs depended on batching, which is a bug of ours."""

    exit_code = EXIT_IO


class RegistryMissing(PearlstreamError):
    """A tick names a registry version that is not in the `devices` log yet."""

    exit_code = EXIT_TRY_AGAIN


class DriverConflict(PearlstreamError):
    """Another process drives time under this prefix; a prefix has one driver."""

    exit_code = EXIT_CONFIG
