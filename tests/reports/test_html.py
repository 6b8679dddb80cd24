"""The page, without a browser: escaping, completeness, sameness, size."""

from __future__ import annotations

import base64
import dataclasses
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

import backupchaos_reports.html.page as page_module
from backupchaos.errors import UsageProblem
from backupchaos.history import Event
from backupchaos.results import Verdict
from backupchaos_reports.html import StoredRun, anchors, load_runs, write_report
from backupchaos_reports.html.packing import BLOCK, pack, unpack
from backupchaos_reports.words import LIMITS, verdict_sentence

from .fixtures import HOSTILE, campaign, data_loss, hostile, many, passing, store, unverified


class Page(HTMLParser):
    """Elements, attributes and text as a browser without scripts has them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs in self.elements if "id" in attrs]


def render(tmp_path: Path, runs: list[StoredRun], name: str = "report.html") -> str:
    return write_report(runs, tmp_path / name).read_text("utf-8")


def listed(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\S+", text))


TAGS = listed(
    """html head meta title style body a header p h1 h2 h3 h4 span svg rect ul li strong dl div dt dd nav main section
    table thead tbody tfoot tr th td small article details summary figure figcaption desc defs pattern path g text
    circle code pre button form label input output noscript em footer template script"""
)
ATTRIBUTES = listed(
    """lang charset http-equiv content name class href id tabindex aria-label aria-labelledby aria-hidden aria-live
    aria-describedby scope colspan title role hidden for type autocomplete spellcheck placeholder open
    viewbox width height preserveaspectratio x y rx fill stroke stroke-width stroke-dasharray d opacity cx cy r
    font-size font-family font-weight text-anchor patternunits data-axis data-lane data-b data-n"""
)


def test_no_element_and_no_attribute_is_born_from_data(tmp_path: Path) -> None:
    page = Page(render(tmp_path, [hostile(), *campaign()]))
    benign = Page(render(tmp_path, campaign(), "benign.html"))
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, attrs in page.elements for name in attrs} <= ATTRIBUTES
    assert (
        Counter(t for t, _ in page.elements)["script"]
        == Counter(t for t, _ in benign.elements)["script"]
        == 1
    )
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs in page.elements)
    assert "<script>document.title='born'</script>" in page.text
    for _, attrs in page.elements:
        for name, value in attrs.items():
            if "title='born'" in (value or ""):
                assert name == "title"


def test_hostile_characters_are_shown_as_tokens(tmp_path: Path) -> None:
    html = render(tmp_path, [hostile()])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2066-\u2069\ufffe]", html)
    assert "␛[31m" in html
    assert "⟨U+202E⟩" in html
    assert len(html) < 1_000_000
    assert "998,000 characters left out" in html


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    html = render(tmp_path, campaign())
    assert not re.search(r"https?:|wss?:|\bsrc=|@import|url\((?!#)", html)
    policy = next(a["content"] or "" for t, a in Page(html).elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert " style=" not in html


def test_the_policy_allows_the_style_and_script_that_are_there(tmp_path: Path) -> None:
    html = render(tmp_path, [passing()])
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    script = re.search("<script>(.*?)</script>", html, re.DOTALL)
    assert style is not None
    assert script is not None
    assert page_module.policy(style[1], script[1]).replace("'", "&#39;") in html
    assert len(script[1]) < 6000


def test_markup_is_only_made_by_the_drawing_and_never_from_data() -> None:
    templates = {p.name: p.read_text("utf-8") for p in page_module.HERE.glob("*.j2")}
    assert not [name for name, text in templates.items() if re.search(r"\|\s*safe|autoescape", text)]
    assert sorted(re.findall(r"\{\{ ([\w.]+)\|figure", "".join(templates.values()))) == ["block", "v.svg"]
    for file in page_module.HERE.parent.glob("*.py"):
        assert file.name == "page.py" or "Markup" not in file.read_text("utf-8")


def test_the_same_runs_give_the_same_bytes_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_report(campaign(), tmp_path / "a.html").read_bytes()
    assert write_report(campaign()[::-1], tmp_path / "b.html").read_bytes() == first
    monkeypatch.setattr(page_module, "INLINE_PASSING", 5)
    packed = write_report(campaign(), tmp_path / "c.html").read_bytes()
    assert b"<template" in packed
    assert write_report(campaign(), tmp_path / "d.html").read_bytes() == packed


def test_counts_in_the_page_are_those_of_the_results(tmp_path: Path) -> None:
    html = render(tmp_path, campaign())
    expected = Counter(run.result.verdict.value for run in campaign())
    listed = re.findall(r'<tr><td class="t-(\w+)">', html[html.index('id="list"') :])
    assert Counter(listed) == expected
    tally = re.findall(r'<li><span class="badge b-(\w+)">.*?<strong>(\d+)</strong>', html)
    assert {verdict: int(count) for verdict, count in tally} == expected
    assert "2 of 10 runs failed, 1 of them lost data while claiming success" in Page(html).text


def test_everything_can_be_read_without_scripts(tmp_path: Path) -> None:
    page = Page(render(tmp_path, campaign()))
    assert Counter(tag for tag, _ in page.elements)["svg"] == 1 + 9
    for words in (
        "job said success with exit 0",
        "the claim of success is not true",
        "Waived law: recoverable.",
        "manual unlock after a full disk",
        "missing: dir2/naïve 文件.bin",
        "backupchaos run disk_full --target sloppy --seed 7",
        "a sized tmpfs in the sandbox's mount namespace",
        "it did not bite",
        "No expectation was evaluated: this run is no evidence of anything.",
        "fuse: /dev/fuse cannot be opened here",
        "ENOSPC returned 41 times",
        LIMITS,
    ):
        assert words in page.text


def test_every_link_leads_somewhere_and_ids_are_unique(tmp_path: Path) -> None:
    page = Page(render(tmp_path, [*campaign(), passing(), hostile()]))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        if "href" in attrs:
            assert (attrs["href"] or "")[1:] in ids
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= set(ids)
    assert "sloppy--disk_full--7" in ids
    assert "rclone--network_loss--7--2" in ids


def test_failures_come_first_and_data_loss_before_all(tmp_path: Path) -> None:
    html = render(tmp_path, campaign())
    order = re.findall(r'<article id="([^"]+)"', html)
    assert order[0] == "sloppy--disk_full--7"
    assert html.index("<article") < html.index("Passed</h2>")


def test_tables_have_scopes_and_verdicts_are_words(tmp_path: Path) -> None:
    html = render(tmp_path, campaign())
    assert not re.search(r"<th(?! scope)[ >](?!ead)", html)
    for cell in re.findall(r'<td class="[ct]-(?:pass|fail|unverified|invalid|skipped)">(.*?)</td>', html):
        assert re.search(r"[✓✗?!-] \w+", cell)


def test_no_green_without_a_check(tmp_path: Path) -> None:
    run = unverified()
    bare = dataclasses.replace(run, result=dataclasses.replace(run.result, checks=(), restores=(), faults=()))
    html = render(tmp_path, [bare])
    assert "could not be judged" in Page(html).text
    assert 'class="t-pass"' not in html
    assert 'class="c-pass"' not in html


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ([], "Nothing was run"),
        (["pass"], "The run passes"),
        (["pass", "pass"], "All 2 runs pass"),
        (["pass", "skipped"], "All 1 runs that could be made pass; 1 of 2 runs skipped"),
        (["skipped"], "Nothing was tested: 1 run skipped"),
        (["pass", "invalid"], "Nothing is shown to fail, but 1 of 2 runs could not be judged"),
        (["unverified"], "Nothing is shown to fail, but 1 of 1 run could not be judged"),
        (["pass", "fail"], "1 of 2 runs failed"),
        (["fail"], "The run failed"),
    ],
)
def test_the_sentence_never_promises_more_than_was_seen(verdicts: list[str], sentence: str) -> None:
    base = dataclasses.replace(passing().result, severity="none")
    assert verdict_sentence([dataclasses.replace(base, verdict=Verdict(v)) for v in verdicts]) == sentence


def test_above_fifty_runs_passing_ones_are_packed_and_others_stay(tmp_path: Path) -> None:
    runs = many(60)
    html = render(tmp_path, runs)
    assert len(re.findall("<article id=", html)) == 6
    blocks = re.findall(r"<template[^>]*>(.*?)</template>", html)
    assert len(blocks) == -(-54 // BLOCK)
    packed = dict(re.findall(r'<a href="#([^"]+)" data-b="(\d+)"', html))
    assert len(packed) == 54
    for anchor, number in packed.items():
        assert f'<article id="{anchor}"' in unpack(blocks[int(number)])


def test_a_block_does_not_depend_on_when_it_was_made() -> None:
    assert base64.b64decode(pack("text"))[4:8] == bytes(4)
    assert unpack(pack("text ✓")) == "text ✓"


def test_hostile_text_is_escaped_in_packed_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = dataclasses.replace(hostile(), result=dataclasses.replace(hostile().result, verdict=Verdict.PASS))
    monkeypatch.setattr(page_module, "INLINE_PASSING", 0)
    html = render(tmp_path, [bad])
    blocks = re.findall(r"<template[^>]*>(.*?)</template>", html)
    inside = Page("".join(unpack(block) for block in blocks))
    assert {tag for tag, _ in inside.elements} <= TAGS - {"script", "style", "meta", "template"}
    assert {name for _, attrs in inside.elements for name in attrs} <= ATTRIBUTES
    assert "<script>" in inside.text


def test_a_run_whose_history_cannot_be_read_is_shown_and_says_so(tmp_path: Path) -> None:
    store(data_loss(), tmp_path / "one")
    (tmp_path / "one" / "history.jsonl").write_text("nonsense\n\n")
    store(passing(), tmp_path / "two")
    (tmp_path / "two" / "history.jsonl").unlink()
    text = Page(render(tmp_path, load_runs([tmp_path]))).text
    assert "history.jsonl:1: not a history record" in text
    assert "cannot read the history" in text


def test_types_that_should_not_be_there_do_not_stop_the_report(tmp_path: Path) -> None:
    run = data_loss()
    fault = dataclasses.replace(run.result.faults[0], started="soon", ended=[1])  # type: ignore[arg-type]
    result = dataclasses.replace(run.result, faults=(fault,), duration="long")  # type: ignore[arg-type]
    events = [*run.events, Event(1, "x", "log", {}), Event(2, 14.0, "phase", {"name": ["a"]})]  # type: ignore[arg-type]
    assert "disk_full" in render(tmp_path, [StoredRun(result, events, None)])


def test_anchors_hold_only_harmless_characters() -> None:
    results = [hostile().result, passing().result, passing().result]
    names = anchors(results)
    assert names[1:] == ["rclone--network_loss--7", "rclone--network_loss--7--2"]
    assert re.fullmatch(r"[a-z0-9._-]+", names[0])
    assert HOSTILE not in names[0]


def test_an_empty_report_is_no_success(tmp_path: Path) -> None:
    html = render(tmp_path, [])
    assert "Nothing was run" in html
    assert "✓" not in Page(html).text


def test_heavy_libraries_are_loaded_only_to_write_html() -> None:
    code = (
        "import sys, backupchaos_reports.table, backupchaos_reports.markdown, backupchaos_reports.junit, "
        "backupchaos_reports.html; print({'jinja2', 'markupsafe', 'pydantic', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_only_the_result_model_is_imported_from_the_engine() -> None:
    root = Path(page_module.__file__).parent.parent
    found = {
        name
        for file in root.rglob("*.py")
        for name in re.findall(
            r"^(?:from|import) (backupchaos\b[\w.]*)", file.read_text("utf-8"), re.MULTILINE
        )
    }
    assert found == {
        "backupchaos.results",
        "backupchaos.history",
        "backupchaos.errors",
        "backupchaos.durations",
        "backupchaos._version",
    }


@pytest.mark.slow
def test_a_thousand_runs_stay_small(tmp_path: Path) -> None:
    html = render(tmp_path, many(1000))
    assert len(html.encode()) <= 3_500_000
    assert html.count("<article id=") == page_module.INLINE_OTHERS
    assert f"{100 - page_module.INLINE_OTHERS} least severe" in html


def test_a_damaged_result_is_a_located_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem):
        load_runs([tmp_path / "nowhere"])
