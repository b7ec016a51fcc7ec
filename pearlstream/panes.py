"""Event time: windows and the clock that settles them. All times are int64 milliseconds."""

from __future__ import annotations

from collections.abc import Iterator


def floor_to(ms: int, step_ms: int, offset_ms: int = 0) -> int:
    """The greatest multiple of `step_ms` (counted from local midnight, `offset_ms` east of UTC) not above `ms`."""
    return (ms + offset_ms) // step_ms * step_ms - offset_ms


def first_end_after(ms: int, hop_ms: int, offset_ms: int = 0) -> int:
    """The first window end strictly after `ms`."""
    return floor_to(ms, hop_ms, offset_ms) + hop_ms


def settles(end_ms: int, hold_ms: int, clock_ms: int) -> bool:
    """Whether the clock has passed a window's end plus the hold of its feeds (strictly: what arrives at that very
    clock is still in time)."""
    return clock_ms > end_ms + hold_ms


def ends_touched(grain_ms: int, hop_ms: int, span_ms: int) -> Iterator[int]:
    """Ends of all windows of a look-back `span_ms` that the grain starting at `grain_ms` (one hop long) lies in."""
    return iter(range(grain_ms + hop_ms, grain_ms + span_ms + 1, hop_ms))


def crossed(before_ms: int, now_ms: int, step_ms: int) -> bool:
    """Whether a multiple of `step_ms` lies in (before, now]."""
    return now_ms // step_ms > before_ms // step_ms
