"""Columns of text to columns of a field's type. Flawed cells set their row aside; everything is said per row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pearlstream.catalogue.models import Feed, FieldSpec
from pearlstream.folds.checks import Verdicts
from pearlstream.frame import limits
from pearlstream.frame.text import clean, shown
from producers.importer.mapping import FieldSource
from producers.importer.units import Floats, converted_column, unit_named
from producers.importer.zones import Mask

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NOT_FINITE = ["nan", "+nan", "-nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"]
_TRUE, _FALSE = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")
BARE = ""
"""Stands for cells that carry no unit of their own."""
TYPES = {"float": pl.Float64(), "int": pl.Int64(), "bool": pl.Boolean(), "enum": pl.String(), "text": pl.String()}
"""Column type of each kind of field."""


@dataclass(frozen=True)
class FieldReader:
    """Reads one field of a feed from a column of text.

    `unit`: the unit of cells that carry none. `decimal`: the decimal sign. `missing`: cells that stand for nothing.
    """

    feed: Feed
    name: str
    source: FieldSource
    unit: str
    decimal: str
    missing: tuple[str, ...]

    @property
    def spec(self) -> FieldSpec:
        """The field's declaration."""
        return self.feed.fields[self.name]

    def read(self, cells: pl.DataFrame, verdicts: Verdicts, seen: Units) -> pl.Series:
        """The field's values, null where missing. Notes in `seen` which units the cells carry."""
        if self.source.constant is not None:
            text = pl.repeat(str(self.source.constant), len(cells), dtype=pl.String, eager=True)
        else:
            text = cells[self.source.column].str.strip_chars()
        text = blanked(text, text.is_in(list(self.missing)))
        if self.spec.type in ("float", "int"):
            return self._numbers(text, verdicts, seen)
        if self.source.words:
            words = {word: _plain(value) for word, value in self.source.words.items()}
            text = text.replace(words)
        return {"bool": self._bools, "enum": self._enum, "text": self._texts}[self.spec.type](text, verdicts)

    def _flaw(self, verdicts: Verdicts, text: pl.Series, bad: Mask, reason: str, wanted: str, remedy: str) -> None:
        for row in np.flatnonzero(bad):
            message = f"{self.feed.id}/{self.name}: got {shown(text[int(row)])}, wanted {wanted}; {remedy}"
            verdicts.set_aside_row(int(row), reason, message)

    # ------------------------------------------------------------------ numbers

    def _numbers(self, text: pl.Series, verdicts: Verdicts, seen: Units) -> pl.Series:
        plain = text if self.decimal == "." else _with_points(text)
        bare = plain.str.contains(rf"^{_NUMBER}$").fill_null(True)
        values = blanked(plain, ~bare).cast(pl.Float64, strict=False)
        numbers = values.to_numpy().copy()
        where = {BARE: (bare & plain.is_not_null()).to_numpy()}
        rest = ~bare
        if rest.any():
            where |= self._with_units(plain, rest, numbers, verdicts, text)
        seen.note(self.name, where)
        for unit, rows in where.items():
            if rows.any():
                numbers[rows] = self._converted(numbers[rows], unit)
        known = np.logical_or.reduce(list(where.values()))
        self._flaw(
            verdicts, text, known & ~np.isfinite(numbers), "not_finite", "a number", "leave the cell empty instead"
        )
        result = pl.Series(self.name, np.where(known, numbers, np.nan)).fill_nan(None)
        return self._whole(result, plain, verdicts, text) if self.spec.type == "int" else result

    def _with_units(
        self, plain: pl.Series, rest: pl.Series, numbers: Floats, verdicts: Verdicts, text: pl.Series
    ) -> dict[str, Mask]:
        """Cells such as `21.5 °C`: their numbers go to `numbers`. Returns which rows carry which unit."""
        groups = blanked(plain, ~rest).str.extract_groups(rf"^(?<number>{_NUMBER})\s*(?<unit>[^\d\s.,+-].*)$")
        parts = groups.struct.unnest()
        values = parts["number"].cast(pl.Float64, strict=False).to_numpy()
        where: dict[str, Mask] = {}
        good = np.zeros(len(plain), bool)
        for written in parts["unit"].drop_nulls().unique().sort():
            unit = unit_named(written)
            if unit is None:
                continue
            rows = (parts["unit"] == written).fill_null(False).to_numpy()
            where[unit] = where.get(unit, np.zeros(len(plain), bool)) | rows
            good |= rows
            numbers[rows] = values[rows]
        bad = rest.to_numpy() & ~good
        words = plain.str.to_lowercase().is_in(_NOT_FINITE).fill_null(False).to_numpy()
        self._flaw(verdicts, text, bad & words, "not_finite", "a number", "leave the cell empty instead")
        hint = "if it stands for nothing, list it under `missing` in the mapping"
        self._flaw(verdicts, text, bad & ~words, "wrong_type", f"a number with decimal {self.decimal!r}", hint)
        return where

    def _converted(self, values: Floats, unit: str) -> Floats:
        source = self.source
        if source.factor != 1 or source.offset != 0:
            return values * source.factor + source.offset
        return converted_column(values, unit or self.unit or self.spec.unit, self.spec.unit)

    def _whole(self, values: pl.Series, plain: pl.Series, verdicts: Verdicts, text: pl.Series) -> pl.Series:
        """Values of an integer field. Long integers are read from their digits, which a float would round."""
        digits = plain.str.contains(r"^[+-]?\d+$").fill_null(False)
        exact = blanked(plain, ~digits).str.strip_prefix("+").cast(pl.Int64, strict=False)
        self._flaw(
            verdicts, text, (digits & exact.is_null()).to_numpy(), "integer_range", "64 bits", "check the column"
        )
        floats = values.to_numpy()
        odd = ~digits.to_numpy() & np.isfinite(floats)
        fraction = odd & ((floats != np.floor(floats)) | (np.abs(floats) > 2**53))
        self._flaw(verdicts, text, fraction, "wrong_type", "an integer", "map it to a field of type float")
        rounded = pl.Series(np.where(odd & ~fraction, floats, np.nan)).fill_nan(None).cast(pl.Int64)
        return pl.select(pl.coalesce(exact, rounded)).to_series().alias(self.name)

    # ------------------------------------------------------------------ words

    def _bools(self, text: pl.Series, verdicts: Verdicts) -> pl.Series:
        lower = text.str.to_lowercase()
        true, false = lower.is_in(list(_TRUE)), lower.is_in(list(_FALSE))
        bad = (text.is_not_null() & ~(true | false)).fill_null(False)
        self._flaw(verdicts, text, bad.to_numpy(), "wrong_type", "true or false", "give `words` in the mapping")
        return pl.select(pl.when(true).then(True).when(false).then(False)).to_series().alias(self.name)

    def _enum(self, text: pl.Series, verdicts: Verdicts) -> pl.Series:
        known = text.is_in(list(self.spec.values)).fill_null(True)
        wanted = f"one of {', '.join(self.spec.values[:12])}"
        self._flaw(verdicts, text, (~known).to_numpy(), "not_in_values", wanted, "give `words` in the mapping")
        return blanked(text, ~known).alias(self.name)

    def _texts(self, text: pl.Series, verdicts: Verdicts) -> pl.Series:
        cleaned = text.map_elements(clean, return_dtype=pl.String) if len(text) else text
        long = (cleaned.str.len_bytes() > limits.TEXT_BYTES).fill_null(False)
        self._flaw(verdicts, text, long.to_numpy(), "too_large", f"{limits.TEXT_BYTES} bytes at most", "shorten it")
        return cleaned.alias(self.name)


@dataclass
class Units:
    """Which units the cells of a file carry, by field, with the first row of each. `locate` turns a row into words."""

    found: dict[str, dict[str, str]] = field(default_factory=dict)
    locate: Callable[[int], str] = str

    def note(self, name: str, where: dict[str, Mask]) -> None:
        """Remember the units of one column in one chunk."""
        known = self.found.setdefault(name, {})
        for unit, rows in where.items():
            if unit not in known and rows.any():
                known[unit] = self.locate(int(np.argmax(rows)))


def blanked(column: pl.Series, rows: pl.Series) -> pl.Series:
    """A column with null in some rows."""
    return pl.select(pl.when(~rows.fill_null(False)).then(column)).to_series().alias(column.name)


def _with_points(text: pl.Series) -> pl.Series:
    """Numbers with a decimal comma as numbers with a point; a point in them then makes them no number."""
    return text.str.replace_all(".", "\u00b7", literal=True).str.replace_all(",", ".", literal=True)


def _plain(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value
