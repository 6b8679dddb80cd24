"""The page on links stays true: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from backupchaos.links.api import VERSION

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/links.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 20
    assert {name for name in named if f"def {name}(" not in code} == set()


def test_the_version_is_the_one_that_the_server_says() -> None:
    assert f"`{VERSION}`" in PAGE
