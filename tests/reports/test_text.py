"""Hostile text becomes visible, short and free of secrets."""

from __future__ import annotations

import base64
import unicodedata
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from backupchaos.results import Verdict
from backupchaos_reports.text import REDACTED, capped, columns, redact, redacted, visible

from .fixtures import data_loss


def test_controls_and_reordering_become_tokens() -> None:
    shown = visible("a\x00\x1b[31m\x7f\x9b\u202eb\ud800\udcff\ufeff\u2028")
    assert shown == "a␀␛[31m␡⟨U+009B⟩⟨U+202E⟩b⟨U+D800⟩⟨byte FF⟩⟨U+FEFF⟩⟨U+2028⟩"


def test_line_breaks_are_kept_only_on_request() -> None:
    assert visible("a\tb\nc\r") == "a␉b␊c␍"
    assert visible("a\tb\nc\r", lines=True) == "a\tb\nc␍"


def test_ordinary_text_of_any_language_is_left_alone() -> None:
    for text in ("naïve 文件.bin", "עברית", "e\u0301", "5 × ✓ …"):
        assert visible(text) == text


@given(st.text())
def test_what_comes_out_is_printable_and_valid_xml(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufffe\uffff")


def test_long_text_keeps_head_and_tail_and_says_how_much_is_missing() -> None:
    shown = capped("A" * 500 + "B" * 500, 100)
    assert shown.startswith("A" * 75 + "…[900 ")
    assert shown.endswith("B" * 25)
    assert capped("A" * 100, 100) == "A" * 100
    assert capped("A" * 50, 10) == "A" * 9 + "…"


def test_a_secret_is_gone_in_every_form_it_travels_in() -> None:
    secret = "p@ss/wörd"
    encoded = base64.b64encode(secret.encode()).decode()
    text = f"x {secret} y {quote(secret, safe='')} z {encoded}"
    clean = redact(text, [secret, "x", ""])
    assert clean.count(REDACTED) == 3
    assert "rd" not in clean.replace("redacted", "")
    assert clean.startswith("x ")


def test_the_longer_of_two_overlapping_secrets_goes_first() -> None:
    assert redact("hunter2hunter2", ["hunter2", "hunter2hunter2"]) == REDACTED


def test_a_whole_result_is_redacted_and_keeps_its_types() -> None:
    result = data_loss().result
    clean = redacted(result, ["0f3a", "disk_full", "3f2a9c01"])
    assert "disk_full" not in str(clean)
    assert "3f2a9c01" not in str(clean)
    assert clean.verdict is Verdict.FAIL
    assert clean.checks[0].verdict is Verdict.FAIL
    assert clean.restores[1].missing == 3


def test_wide_and_combining_characters_are_counted_as_the_terminal_shows_them() -> None:
    assert columns("abc") == 3
    assert columns("文件") == 4
    assert columns("e\u0301") == 1
