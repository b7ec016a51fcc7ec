"""Fixtures of the simulator's tests: a maker of small plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from simulator_kit import MINUTE_MS, PlanMaker

from pearlstream.catalogue import Catalogue
from producers.simulator.plan import Plan, make_plan


@pytest.fixture
def plan(catalogue: Catalogue) -> PlanMaker:
    """A maker of plans: SC02, two minutes, all feeds, unless said otherwise."""

    def make(*scenarios: str, minutes: float = 2, **changes: Any) -> Plan:
        wanted = [(name, 0) for name in (scenarios or ("SC02",))]
        made = make_plan(catalogue, wanted, duration_ms=round(minutes * MINUTE_MS))
        return replace(made, **changes)

    return make
