"""Quality flags: what `admit` notes about a reading that it accepts. One bit each in the column `qc`."""

from __future__ import annotations

from enum import IntFlag


class Quality(IntFlag):
    """A reading with no flag is as the device sent it, and plausible."""

    CLOCK_AHEAD = 1
    """The device's clock is more than 2 and at most 10 minutes ahead."""
    TIME_ZONE_SUSPECT = 2
    """The time is a whole time zone behind, though the sequence is unbroken."""
    COERCED = 4
    """Numbers came as text and were read as numbers."""
    RANGE = 8
    """A value lies outside the plausible range of its field."""
    SEQ_RESTART = 16
    """The device started its sequence again; this reading belongs to a new run."""
    TEXT_CLEANED = 32
    """Invisible or control characters were taken out of a text."""
    COUNTER_RESET = 64
    """A counter fell; the increment is the new value."""
    TIME_RELATIVE = 128
    """The time was given relative to now and was counted from the clock."""
    TIME_AMBIGUOUS = 256
    """The local time exists twice (end of summer time); the first was taken."""
    STUCK = 512
    """A value has stood still for longer than its field allows."""
    SPIKE = 1024
    """A value lies further from the device's last ones than its field allows."""
    CLOCK_OFF = 2048
    """The device's readings have come minutes early or late for a while, and steadily: its clock is wrong."""
    SCALE_SUSPECT = 4096
    """A device's values are some ten times, or a tenth of, its neighbours' for a while: its unit is wrong."""


FLAGS: dict[str, Quality] = {str(flag.name).lower(): flag for flag in Quality}
"""Flag by its name in the catalogue (`range`)."""

COLUMNS: dict[str, Quality] = {
    "qc_range": Quality.RANGE,
    "qc_stuck": Quality.STUCK,
    "qc_spike": Quality.SPIKE,
    "qc_scale": Quality.SCALE_SUSPECT,
    "clock_off": Quality.CLOCK_OFF,
}
"""Boolean columns that terms may name, each true where its flag is set."""
