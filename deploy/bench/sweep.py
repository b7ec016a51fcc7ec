"""How a stage's cost grows: the same load again and again, each time with another number of something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

AXES: Mapping[str, tuple[int, ...]] = {
    "frame-rows": (1, 10, 100, 1_000, 5_000),
    "devices": (1_000, 10_000, 100_000, 1_000_000),
    "cities": (1, 5, 23),
    "partitions": (1, 6, 16, 64),
}
"""What is varied, and through which values; all else stays as asked for."""
MOST_FRAMES = 20_000
"""Where frames are small, fewer readings are enough to see what a frame costs."""
BAR = 40


class Point(NamedTuple):
    """One figure of a curve."""

    value: int
    cpu_s_per_million: float
    peak_rss_mb: float


class Cost(NamedTuple):
    """What a reading and what a frame costs, in microseconds of CPU time."""

    reading_us: float
    frame_us: float


def loads(axis: str, load: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The loads of an axis, each with its value."""
    name = axis.replace("-", "_")
    for value in AXES[axis]:
        varied = {**load, name: value}
        yield value, {**varied, "readings": min(varied["readings"], MOST_FRAMES * varied["frame_rows"])}


def cost_of(points: Sequence[Point]) -> Cost:
    """A reading costs `r`, a frame `f`, so a reading in a frame of n costs r + f / n: the best fit, where an error
    counts by its share of the figure. `points`: by rows in a frame, at least two of them."""
    import numpy as np  # not at the top: the command's help needs this module, too

    rows = np.array([point.value for point in points], np.float64)
    figures = np.array([point.cpu_s_per_million for point in points])
    terms = np.stack([np.ones(len(rows)), 1 / rows], axis=1) / figures[:, None]
    (reading, frame), *_ = np.linalg.lstsq(terms, np.ones(len(rows)), rcond=None)
    return Cost(float(reading), float(frame))


def bytes_each(points: Sequence[Point]) -> float:
    """Memory that one more of something takes, from the first figure to the last."""
    first, last = points[0], points[-1]
    return (last.peak_rss_mb - first.peak_rss_mb) * 1024 * 1024 / (last.value - first.value)


def drawn(axis: str, points: Sequence[Point]) -> list[str]:
    """The curve of an axis as lines of text, and what its slope says."""
    most = max(point.cpu_s_per_million for point in points)
    lines = [
        f"{axis:>12} {point.value:>10,}  {_bar(point.cpu_s_per_million / most):<{BAR}}"
        f" {point.cpu_s_per_million:>9.2f} CPU-s/million {point.peak_rss_mb:>7.0f} MB"
        for point in points
    ]
    if axis == "frame-rows":
        cost = cost_of(points)
        lines.append(f"{'':>12} a reading costs {cost.reading_us:.2f} us, a frame {cost.frame_us:.0f} us")
    if axis == "devices":
        lines.append(f"{'':>12} a device takes {bytes_each(points):.0f} bytes, with its share of the load")
    return lines


def _bar(share: float) -> str:
    return "█" * max(1, round(BAR * share))
