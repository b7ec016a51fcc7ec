"""Python cells to Arrow columns: the careful way, for JSON, for SenML, and for Arrow columns of another type.

A column is converted at once if all its cells are as they should be; only otherwise is it looked at cell by
cell. A flawed cell becomes null and its row is named in the findings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from pearlstream.frame import limits
from pearlstream.frame.findings import Findings
from pearlstream.frame.schema import Column
from pearlstream.frame.text import ID_PATTERN, clean, is_id
from pearlstream.quality import Quality

EXACT_FLOAT = 1 << 53
"""From here on a float no longer tells neighbouring integers apart, and JSON parsers make floats of big integers."""

SEND_NUMBERS = "send numbers"
LEAVE_OUT = "leave the field out or send null"

_NONE = type(None)
_NUMBERS: dict[str, frozenset[type]] = {
    "float": frozenset({float, int, _NONE}),
    "int": frozenset({int, _NONE}),
    "bool": frozenset({bool, _NONE}),
}
_TEXT = frozenset({str, _NONE})
_number = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{0,400})?([eE][+-]?[0-9]{1,4})?", re.ASCII).fullmatch
_integer = re.compile(r"[+-]?[0-9]{1,25}", re.ASCII).fullmatch


def to_array(cells: Sequence[Any], column: Column, found: Findings) -> pa.Array:
    """One column as an Arrow array of its type. Flawed cells become null; total over any cells."""
    kinds = set(map(type, cells))
    if column.required and type(None) in kinds:
        found.null((row for row, cell in enumerate(cells) if cell is None), column)
    if _as_wanted(cells, kinds, column):
        try:
            return pa.array(cells, type=column.type)
        except (pa.ArrowException, OverflowError, ValueError):
            pass  # an integer that does not fit: the cells say which
    return pa.array(_CONVERT[column.kind](cells, column, found), type=column.type)


def _as_wanted(cells: Sequence[Any], kinds: set[type], column: Column) -> bool:
    """Whether all cells are as the column wants them, but for the range of integers."""
    direct = _NUMBERS.get(column.kind)
    if direct is not None:
        return kinds <= direct and (float not in kinds or all(map(math.isfinite, filter(None, cells))))
    if not kinds <= _TEXT:
        return False
    texts = list(filter(None, cells)) if _NONE in kinds else cells
    if column.kind == "enum":
        return column.values.issuperset(texts) and len(texts) + cells.count(None) == len(cells)
    if column.kind == "text":
        joined = "".join(texts)
        return joined.isascii() and joined.isprintable() and len(max(texts, key=len, default="")) <= limits.TEXT_BYTES
    return column.kind == "id" or (all(map(is_id, texts)) and len(texts) + cells.count(None) == len(cells))


def _numbers(cells: Sequence[Any], column: Column, found: Findings) -> list[Any]:
    """Cells of a float or an int column; texts are read as numbers if all of them are some."""
    convert = _float if column.kind == "float" else _int
    texts = [row for row, cell in enumerate(cells) if type(cell) is str]
    read = _coerced([cells[row] for row in texts], column)
    values: list[Any] = [
        None if cell is None or type(cell) is str else convert(row, cell, column, found)
        for row, cell in enumerate(cells)
    ]
    if texts and read is None:
        # One text that is no number (a decimal comma, say) makes the others doubtful as well.
        for row in texts:
            found.cell(row, "wrong_type", column, cells[row], SEND_NUMBERS)
    elif texts and read is not None:
        for row, number in zip(texts, read, strict=True):
            values[row] = convert(row, number, column, found)
        found.flag(texts, Quality.COERCED)
    return values


def _coerced(texts: list[str], column: Column) -> list[Any] | None:
    """The numbers that texts stand for, or None if one of them is none."""
    if column.kind == "int" and all(map(_integer, texts)):
        return [int(text) for text in texts]
    return [float(text) for text in texts] if all(map(_number, texts)) else None


def _float(row: int, cell: Any, column: Column, found: Findings) -> float | None:
    if type(cell) is not float and type(cell) is not int:
        found.cell(row, "wrong_type", column, cell, SEND_NUMBERS)
        return None
    if not math.isfinite(cell):
        found.cell(row, "not_finite", column, cell, LEAVE_OUT)
        return None
    return float(cell)


def _int(row: int, cell: Any, column: Column, found: Findings) -> int | None:
    if type(cell) is float:
        if not math.isfinite(cell):
            found.cell(row, "not_finite", column, cell, LEAVE_OUT)
            return None
        if not cell.is_integer():
            found.cell(row, "wrong_type", column, cell, "send an integer")
            return None
        if abs(cell) > EXACT_FLOAT:
            found.cell(row, "integer_range", column, cell, "send an integer within this range")
            return None
        cell = int(cell)
    elif type(cell) is not int:
        found.cell(row, "wrong_type", column, cell, SEND_NUMBERS)
        return None
    if not column.least <= cell <= column.most:
        found.cell(row, "integer_range", column, cell, "send an integer within this range")
        return None
    return int(cell)


def _each(convert: Callable[[int, Any, Column, Findings], Any]) -> Callable[[Sequence[Any], Column, Findings], Any]:
    """A converter of columns from one of cells; nulls stay null."""

    def converted(cells: Sequence[Any], column: Column, found: Findings) -> list[Any]:
        return [None if cell is None else convert(row, cell, column, found) for row, cell in enumerate(cells)]

    return converted


def _bool(row: int, cell: Any, column: Column, found: Findings) -> bool | None:
    if type(cell) is bool:
        return cell
    found.cell(row, "wrong_type", column, cell, "send true or false")
    return None


def _text(row: int, cell: Any, column: Column, found: Findings) -> str | None:
    if type(cell) is not str:
        found.cell(row, "wrong_type", column, cell, "send a text")
        return None
    cleaned = clean(cell)
    if len(cleaned.encode()) > limits.TEXT_BYTES:
        found.cell(row, "too_large", column, cell, f"send at most {limits.TEXT_BYTES} bytes of UTF-8")
        return None
    if cleaned != cell:
        found.flag(row, Quality.TEXT_CLEANED)
    return cleaned


def _word(row: int, cell: Any, column: Column, found: Findings) -> str | None:
    if type(cell) is not str:
        found.cell(row, "wrong_type", column, cell, "send one of these words")
        return None
    if cell not in column.values:
        found.cell(row, "not_in_values", column, cell, "send one of these words")
        return None
    return cell


def _name(row: int, cell: Any, column: Column, found: Findings) -> str | None:
    """A device id whose form is judged later, by `bad_ids`."""
    if type(cell) is str:
        return cell
    found.cell(row, "wrong_type", column, cell, "send the id as a text")
    return None


def _id(row: int, cell: Any, column: Column, found: Findings) -> str | None:
    name = _name(row, cell, column, found)
    if name is None or is_id(name):
        return name
    found.cell(row, "bad_id", column, cell, f"send an id like {ID_PATTERN}")
    return None


_CONVERT: dict[str, Callable[[Sequence[Any], Column, Findings], list[Any]]] = {
    "float": _numbers,
    "int": _numbers,
    "bool": _each(_bool),
    "text": _each(_text),
    "enum": _each(_word),
    "id": _each(_name),
    "strict id": _each(_id),
    "boot": _each(_id),
}
