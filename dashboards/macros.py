"""Grafana's macros and variables in a query, expanded as its ClickHouse plugin and its front end do it.

Only those that our boards use; any other is an error here, so that a query cannot pass the check and fail in Grafana.
Quoting is stricter than Grafana's, which leaves backslashes alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pearlstream.errors import PearlstreamError
from sinks.clickhouse.sql import literal


class Shown(NamedTuple):
    """What is looked at: a stretch of event time (ms since 1970 UTC), how many points fit, what was chosen."""

    from_ms: int
    to_ms: int
    chosen: Mapping[str, Sequence[str]]
    points: int = 500

    @property
    def interval_s(self) -> int:
        """Seconds between two points."""
        return max(1, round((self.to_ms - self.from_ms) / 1000 / self.points))


_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}")
_MACRO = re.compile(r"\$__(\w+)(?:\((\w+)\))?")


def expand(sql: str, shown: Shown) -> str:
    """The query as the store gets it. Raises PearlstreamError on a macro or a variable that nobody knows."""

    def variable(found: re.Match[str]) -> str:
        name, form = found.groups()
        values = shown.chosen.get(name)
        if values is None:
            raise PearlstreamError(f"a query uses ${{{name}}}, which its board has no variable for")
        if form != "singlequote":
            raise PearlstreamError(f"${{{name}}} stands in a query without `:singlequote`", remedy="quote it")
        return ",".join(literal(value) for value in values)

    def macro(found: re.Match[str]) -> str:
        name, column = found.groups()
        since, until = (f"fromUnixTimestamp64Milli({at})" for at in (shown.from_ms, shown.to_ms))
        if name == "timeFilter_ms" and column:
            return f"{column} >= {since} AND {column} <= {until}"
        simple = {"fromTime_ms": since, "toTime_ms": until, "interval_s": str(shown.interval_s)}
        if column is not None or name not in simple:
            raise PearlstreamError(f"a query uses the macro {found.group(0)}, which is not known here")
        return simple[name]

    return _MACRO.sub(macro, _VARIABLE.sub(variable, sql))
