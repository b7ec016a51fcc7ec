"""Fixtures of the importer's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from importer_kit import Kit, kit_program

from pearlstream.program import Program


@pytest.fixture(scope="session")
def kit_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The shipped catalogue with the test feeds."""
    return kit_program(tmp_path_factory.mktemp("overlay"))


@pytest.fixture
def kit(kit_catalogue: Program, tmp_path: Path) -> Kit:
    """Imports texts as files."""
    return Kit(kit_catalogue, tmp_path)
