"""The reference pages say what code and catalogue say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("name", MADE["PAGES"])
def test_a_committed_page_is_the_one_that_is_generated(name: str) -> None:
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == MADE["page"](name), "run `python docs/generate.py` and commit what it changes"


def test_every_reason_of_admit_is_explained() -> None:
    folds = ROOT / "pearlstream" / "folds"
    source = "".join((folds / name).read_text(encoding="utf-8") for name in ("admit.py", "checks.py", "gather.py"))
    said = set(re.findall(r"set_aside(?:_row)?\(\s*[^,\"]+,\s*\"([a-z_]+)\"", source))
    assert len(said) >= 8
    assert said <= set(MADE["ADMIT_REASONS"])


def test_every_flag_is_explained() -> None:
    assert set(MADE["FLAGS"]) == set(MADE["Quality"])


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
