"""Texts to times: one column, several, or the parts of a date; then from the local zone to UTC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pearlstream.folds.checks import LATEST_MS, YEAR_2015_MS, Verdicts
from pearlstream.frame.text import shown
from producers.importer.mapping import TimeSpec
from producers.importer.zones import Ints, Mask, Zone

DAY_MS = 86_400_000
_ISO = (
    r"^(?<year>\d{4})[-/](?<month>\d{1,2})[-/](?<day>\d{1,2})"
    r"(?:[ T]+(?<hour>\d{1,2})(?::(?<minute>\d{1,2})(?::(?<second>\d{1,2})(?:[.,](?<fraction>\d{1,9}))?)?)?)?"
    r"\s*(?<offset>Z|z|[+-]\d{2}:?\d{2})?$"
)
_CLOCK = ("hour", "minute", "second")


@dataclass(frozen=True)
class TimeReader:
    """Reads the times of rows as a mapping says. `zone` None: every time must carry its own offset."""

    spec: TimeSpec
    zone: Zone | None

    def read(self, cells: pl.DataFrame, verdicts: Verdicts, feed: str) -> tuple[Ints, Mask]:
        """Times in ms since 1970 UTC, and which of them are the first of two. Rows without one are set aside.

        `cells`: the file's columns as text.
        """
        text = self._text(cells)
        local, given = self._parsed(cells)
        missing = local.is_null().to_numpy()
        ms = local.fill_null(0).to_numpy().astype(np.int64)
        for row in np.flatnonzero(missing):
            message = f"{feed}/ts: got {shown(text[int(row)])}, wanted {self._wanted()}"
            verdicts.set_aside_row(int(row), "time_malformed", f"{message}; mend the row, or [time] in the mapping")
        if given is None:
            utc, ambiguous = self._to_utc(ms, missing, verdicts, feed, text)
        else:
            naive = given.is_null().to_numpy() & ~missing
            utc, ambiguous = self._to_utc(ms, ~naive, verdicts, feed, text)
            utc = np.where(naive, utc, ms - given.fill_null(0).to_numpy())
        utc = utc + round(self.spec.shift_s * 1000)
        verdicts.set_aside(
            (utc < YEAR_2015_MS) & ~missing,
            "time_unset",
            f"{feed}/ts: lies before 2015, where clocks that were never set stand; leave these rows out",
        )
        verdicts.set_aside((utc > LATEST_MS) & ~missing, "future", f"{feed}/ts: lies beyond 2100; mend the row")
        return utc, ambiguous

    def _to_utc(self, local: Ints, others: Mask, verdicts: Verdicts, feed: str, text: pl.Series) -> tuple[Ints, Mask]:
        """Local times as UTC; `others` are rows that this is not about."""
        none = np.zeros(len(local), bool)
        if self.spec.format in ("unix", "unix_ms"):
            return local, none
        if self.zone is None:
            message = f"{feed}/ts: has no offset, and the mapping no zone; add zone = ... to [time]"
            verdicts.set_aside(~others, "time_malformed", message)
            return local, none
        offsets = self.zone.offsets(local)
        for row in np.flatnonzero(offsets.nonexistent & ~others):
            message = f"{feed}/ts: {shown(text[int(row)])} does not exist in {self.zone.name}: clocks skipped it"
            verdicts.set_aside_row(int(row), "time_nonexistent", f"{message}; give an offset or UTC")
        return local - offsets.ms, offsets.ambiguous & ~others & (verdicts.reason == 0)

    def _text(self, cells: pl.DataFrame) -> pl.Series:
        """What stands in the file, for messages and for formats that read it as one."""
        return cells.select(
            pl.concat_str([pl.col(name).str.strip_chars().fill_null("") for name in self.spec.named], separator=" ")
        ).to_series()

    def _wanted(self) -> str:
        return " ".join(self.spec.parts) if self.spec.parts else f"a time as {self.spec.format}"

    def _parsed(self, cells: pl.DataFrame) -> tuple[pl.Series, pl.Series | None]:
        """Local ms (null where there is no time), and the offset that each time carries itself, if any can."""
        if self.spec.parts:
            named = self.spec.parts.items()
            return _of_parts(cells.select(pl.col(column).str.strip_chars().alias(part) for part, column in named)), None
        text = self._text(cells)
        if self.spec.format == "iso":
            parts = text.str.extract_groups(_ISO).struct.unnest()
            return _of_parts(parts), _offset(parts["offset"])
        if self.spec.format in ("unix", "unix_ms"):
            number = text.cast(pl.Float64, strict=False)
            number = pl.select(pl.when(number.is_finite() & (number.abs() < 1e15)).then(number)).to_series()
            scaled = number * 1000 if self.spec.format == "unix" else number
            return scaled.round().cast(pl.Int64), None
        return _of_format(text, self.spec.format)


def _of_parts(parts: pl.DataFrame) -> pl.Series:
    """Local ms from columns of digits: year, month, day, and whatever of the clock is there. Hour 24 is the next 0."""

    def number(name: str, width: int) -> pl.Expr:
        column = pl.col(name) if name in parts.columns else pl.lit("0")
        whole = column.fill_null("0").str.strip_suffix(".0")
        return pl.when(whole.str.contains(rf"^\d{{1,{width}}}$")).then(whole.cast(pl.Int64, strict=False))

    widths = {"year": 4, "month": 2, "day": 2}
    date = [pl.col(name).str.strip_suffix(".0").str.zfill(width) for name, width in widths.items()]
    found = parts.select(
        pl.concat_str(date, separator="-").str.to_date("%Y-%m-%d", strict=False).alias("date"),
        *(number(name, 2).alias(name) for name in _CLOCK),
        (pl.col("fraction") if "fraction" in parts.columns else pl.lit(None, dtype=pl.String))
        .fill_null("0").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64).alias("ms"),
    )  # fmt: skip
    midnight = (pl.col("hour") == 24) & (pl.col("minute") == 0) & (pl.col("second") == 0)
    clock = (pl.col("hour") < 24) & (pl.col("minute") < 60) & (pl.col("second") < 60)
    seconds = pl.col("hour") * 3600 + pl.col("minute") * 60 + pl.col("second")
    days = pl.col("date").cast(pl.Int32).cast(pl.Int64)
    return found.select(pl.when(midnight | clock).then(days * DAY_MS + seconds * 1000 + pl.col("ms"))).to_series()


def _offset(text: pl.Series) -> pl.Series | None:
    """Offsets such as +08:00 and Z in ms, null where there is none; None if there is none at all."""
    if text.null_count() == len(text):
        return None
    digits = text.str.replace(":", "")
    sign = pl.when(digits.str.starts_with("-")).then(-1).otherwise(1)
    hours, rest = (digits.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (1, 3))
    minutes = hours * 60 + rest
    zulu = digits.is_in(["Z", "z"])
    return pl.select(pl.when(zulu).then(0).otherwise(sign * minutes * 60_000)).to_series()


def _of_format(text: pl.Series, form: str) -> tuple[pl.Series, pl.Series | None]:
    """Local ms from a strptime format; with %z in it the times are UTC already, and their offset 0."""
    # A time is only complete with its minutes; whole hours and whole days are written without.
    if "%H" in form or "%I" in form:
        padding = ("", "") if "%M" in form else (":00", ":%M")
    elif any(directive in form for directive in ("%T", "%R", "%c", "%s", "%X")):
        padding = ("", "")
    else:
        padding = (" 00:00", " %H:%M")
    parsed = (text + padding[0]).str.to_datetime(form + padding[1], strict=False, time_unit="ms")
    aware = "%z" in form or "%:z" in form or "%#z" in form
    ms = parsed.dt.timestamp("ms")
    return ms, pl.zeros(len(ms), pl.Int64, eager=True) if aware else None
