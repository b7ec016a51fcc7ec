"""Fixtures of the importer's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from importer_kit import Kit, kit_overlay

from pearlstream.catalogue import load_catalogue
from pearlstream.program import Program, compile_catalogue


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlay folder with the test feeds and cities."""
    return kit_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="session")
def kit_catalogue(overlay: Path) -> Program:
    """The shipped catalogue with the test feeds."""
    return compile_catalogue(load_catalogue([overlay]))


@pytest.fixture
def kit(kit_catalogue: Program, tmp_path: Path) -> Kit:
    """Imports texts as files."""
    return Kit(kit_catalogue, tmp_path)
