"""Comparison as a function of entries: aspects, granularity, either of two trees, and what it refuses."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupchaos.trees import ALL, CONTENT_ONLY, STRICT, Aspect, Comparison, ManifestError, TreeError
from backupchaos.trees import compare as compare_trees
from backupchaos.trees.compare import compare_either
from backupchaos.trees.entry import Entry, EntryType, order_key

FILE, DIR, LINK, FIFO = EntryType.FILE, EntryType.DIRECTORY, EntryType.SYMLINK, EntryType.FIFO


def file(path: str, content: str = "a", size: int = 10, mtime_ns: int = 0, **more: object) -> Entry:
    entry = Entry(path.encode(), FILE, size, 0o644, 1, 1, mtime_ns, content * 64)
    return entry._replace(**more)  # type: ignore[arg-type]


def folder(path: str) -> Entry:
    return Entry(path.encode(), DIR, mode=0o755)


def link(path: str, target: str = "t") -> Entry:
    return Entry(path.encode(), LINK, mode=0o777, target=target.encode())


names = st.lists(
    st.binary(min_size=1, max_size=3).filter(lambda b: b"/" not in b and b"\0" not in b), max_size=3
)
paths = st.lists(names.filter(bool).map(b"/".join), unique=True, max_size=12)


def whole(chosen: list[bytes]) -> list[Entry]:
    made = [Entry(p, FILE, len(p), 0o644, 1, 1, i, f"{i:064}") for i, p in enumerate(chosen)]
    return sorted(made, key=lambda e: order_key(e.path))


@given(paths, paths)
def test_counts_add_up_for_any_two_trees(one: list[bytes], two: list[bytes]) -> None:
    left, right = whole(one), whole(two)
    result = compare_trees(left, right)
    assert result.expected == len(one) == result.identical + result.different + result.missing + result.waived
    assert result.missing == len(set(one) - set(two))
    assert result.extra == len(set(two) - set(one))
    assert result.equal == (sorted(left) == sorted(right))
    assert result.expected_bytes == result.identical_bytes + result.different_bytes + result.missing_bytes
    assert Comparison.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@given(paths)
def test_order_is_that_of_components(chosen: list[bytes]) -> None:
    assert sorted(chosen, key=order_key) == sorted(chosen, key=lambda p: p.split(b"/"))


@given(paths.filter(bool), st.randoms(use_true_random=False))
def test_a_tree_out_of_order_is_refused(chosen: list[bytes], source: random.Random) -> None:
    ordered = whole(chosen)
    with pytest.raises(ManifestError, match="out of order"):
        compare_trees([*ordered, ordered[source.randrange(len(ordered))]], ordered)


def test_granularity_is_less_than_and_not_up_to() -> None:
    left, right = [file("a", mtime_ns=5_000_000_000)], [file("a", mtime_ns=5_999_999_999)]
    assert not compare_trees(left, right).equal
    assert compare_trees(left, right, mtime_granularity_ns=1_000_000_000).equal
    assert not compare_trees(
        left, [file("a", mtime_ns=6_000_000_000)], mtime_granularity_ns=1_000_000_000
    ).equal


def test_times_are_shown_to_the_nanosecond() -> None:
    item = compare_trees([file("a", mtime_ns=1)], [file("a", mtime_ns=2)]).first[0]
    assert (item.expected, item.observed) == (
        "1970-01-01T00:00:00.000000001Z",
        "1970-01-01T00:00:00.000000002Z",
    )


def test_an_object_store_owes_neither_directories_nor_links_nor_fifos() -> None:
    tree = [folder("d"), file("d/f"), folder("empty"), link("l"), Entry(b"p", FIFO)]
    stored = [folder("d"), file("d/f", mode=0o600, uid=7)]
    content = {Aspect.CONTENT}
    result = compare_trees(tree, stored, content)
    assert result.equal
    assert result.waived == 3
    full = compare_trees(tree, stored)
    assert [item.what for item in full.first] == ["missing", "missing", "missing", "mode", "owner"]
    assert {k: v for k, v in full.per_aspect.items() if v} == {
        "mode": 1, "owner": 1, "empty_dirs": 1, "links": 1, "type": 1,
    }  # fmt: skip


def test_a_followed_link_is_waived_with_all_below_it_but_nothing_beside_it() -> None:
    tree = [link("l"), file("l.txt")]
    followed = [folder("l"), file("l/x"), folder("l/y"), file("l/y/z"), file("l.txt")]
    assert compare_trees(tree, followed, {Aspect.CONTENT}).equal
    assert not compare_trees(tree, [*followed, file("m")], {Aspect.CONTENT}).equal
    assert compare_trees(tree, followed).extra == 3


def test_another_type_is_a_loss_even_where_types_are_not_promised() -> None:
    result = compare_trees([file("a")], [link("a")], {Aspect.CONTENT})
    assert [item.what for item in result.first] == ["type"]


def test_loss_of_content_is_shown_before_loss_of_metadata() -> None:
    left = [file(f"f{i}") for i in range(9)]
    right = [file(f"f{i}", mode=0) for i in range(8)] + [file("f8", "b")]
    result = compare_trees(left, right, limit=3)
    assert [(item.display, item.what) for item in result.first] == [
        ("f8", "content"),
        ("f0", "mode"),
        ("f1", "mode"),
    ]
    assert result.different == 9


def test_unreadable_entries_are_never_equal() -> None:
    broken = file("a", content="", error="open: EACCES")
    for left, right in (([broken], [file("a")]), ([file("a")], [broken]), ([broken], [broken])):
        for aspects in (ALL, {Aspect.MODE}):
            result = compare_trees(left, right, aspects)
            assert not result.equal
            assert result.expected_errors + result.actual_errors >= 1
            assert result.first[0].what == "unreadable"


def test_a_file_without_hash_equals_nothing() -> None:
    assert not compare_trees([file("a", content="")], [file("a", content="")]).equal


def test_nothing_compared_is_said_to_be_vacuous() -> None:
    assert compare_trees([], []).vacuous
    assert not compare_trees([file("a")], [file("a")]).vacuous


@pytest.mark.parametrize("aspects", [[], ["contents"]])
def test_senseless_aspects_are_refused(aspects: list[str]) -> None:
    with pytest.raises(TreeError):
        compare_trees([], [], aspects)


def test_the_root_needs_manifests() -> None:
    with pytest.raises(TreeError, match="leave the aspect root out"):
        compare_trees([file("a")], [file("a")], STRICT)


def hard(path: str, first: str | None) -> Entry:
    return file(path, hardlink=first.encode() if first else None)


@pytest.mark.parametrize(
    ("expected", "actual", "broken"),
    [
        ("aaa", "aaa", ""),
        ("aab", "abb", "bc"),
        ("aaa", "abc", "bc"),
        ("abc", "aaa", "bc"),
        ("abc", "abc", ""),
        ("aac", "aaa", "c"),
        ("aba", "abb", "c"),
    ],
)
def test_hard_links_are_compared_as_groups(expected: str, actual: str, broken: str) -> None:
    def tree(groups: str) -> list[Entry]:
        return [hard(p, g if groups.count(g) > 1 else None) for p, g in zip("abc", groups, strict=True)]

    result = compare_trees(tree(expected), tree(actual))
    assert "".join(item.display for item in result.first) == broken
    assert all(item.what == "hardlink" for item in result.first)


def test_a_name_outside_of_the_tree_makes_no_hard_link() -> None:
    assert compare_trees([hard("a", "a"), hard("b", None)], [hard("a", None), hard("b", "b")]).equal


OLD = [folder("d"), file("d/edited", "a"), file("d/gone"), file("d/same"), file("turns")]
NEW = [
    folder("d"),
    file("d/edited", "b", 12),
    file("d/new"),
    file("d/same"),
    folder("turns"),
    file("turns/in"),
]


@given(st.lists(st.booleans(), min_size=7, max_size=7))
def test_any_mixture_of_whole_versions_is_accepted(choice: list[bool]) -> None:
    versions = [{e.path: e for e in tree} for tree in (OLD, NEW)]
    every = sorted({*versions[0], *versions[1]}, key=order_key)
    mixed = [versions[new].get(path) for path, new in zip(every, choice, strict=True)]
    result = compare_either(OLD, NEW, [e for e in mixed if e])
    assert result.equal, result
    assert result.expected == 7


@pytest.mark.parametrize(
    ("actual", "what"),
    [
        ([folder("d"), file("d/edited", "b", 5), file("d/same")], "size"),
        ([folder("d"), file("d/edited", "c", 12), file("d/same")], "content"),
        ([folder("d"), file("d/edited"), file("d/edited~tmp"), file("d/same")], "extra"),
        ([folder("d"), file("d/edited")], "missing"),
        ([folder("d"), file("d/edited"), file("d/new", "z"), file("d/same")], "content"),
    ],
)
def test_what_is_neither_old_nor_new_is_found(actual: list[Entry], what: str) -> None:
    result = compare_either(OLD, NEW, actual)
    assert [item.what for item in result.first] == [what]
    assert not result.equal


def test_a_path_that_turns_into_something_else_may_be_absent_in_between() -> None:
    assert compare_either([file("a"), file("b")], [link("a"), file("b")], [file("b")]).equal
    assert not compare_either([file("a"), file("b")], [file("a", "b"), file("b")], [file("b")]).equal


def test_a_version_must_be_met_in_all_aspects_at_once() -> None:
    old, new = [file("a", "a", mtime_ns=1)], [file("a", "b", mtime_ns=2)]
    mixed = [file("a", "a", mtime_ns=2)]
    assert compare_either(old, new, mixed).equal
    assert not compare_either(old, new, mixed, CONTENT_ONLY | {Aspect.MTIME}).equal


def test_hard_links_of_either_are_refused() -> None:
    with pytest.raises(TreeError, match="hardlinks"):
        compare_either(OLD, NEW, OLD, ALL)
