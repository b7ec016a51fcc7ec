"""Every query of every board, on the real engine."""

from __future__ import annotations

import pytest

from dashboards.build import boards
from dashboards.check import answers, chosen, newest_time
from dashboards.macros import Shown
from dashboards.model import TONGUES, Tongue
from pearlstream.catalogue import Catalogue
from pearlstream.errors import PearlstreamError
from pearlstream.store import Store

DAY_MS = 86_400_000


@pytest.mark.parametrize("tongue", [TONGUES[0], TONGUES[2]], ids=lambda tongue: tongue.tag)
def test_the_engine_understands_every_query(catalogue: Catalogue, empty_store: Store, tongue: Tongue) -> None:
    asked = [
        answer
        for board in boards(catalogue, tongue)
        for answer in answers(board, Shown(20_000 * DAY_MS, 20_001 * DAY_MS, chosen(empty_store, board)), empty_store)
    ]

    assert [(one.board, one.panel, one.error) for one in asked if one.failed] == []
    assert len(asked) > 300


def test_a_store_without_indicators_is_an_error_that_says_what_to_do(empty_store: Store) -> None:
    with pytest.raises(PearlstreamError, match="no indicators"):
        newest_time(empty_store, 3_600_000)
