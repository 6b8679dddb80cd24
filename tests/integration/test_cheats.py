"""Scripts that look like backups and are none: each must be found out, and the honest example must not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupchaos.engine.run import Run
from backupchaos.errors import UsageProblem
from backupchaos.model.scenario import Scenario
from backupchaos.results import Verdict
from backupchaos.targets.registry import resolve_target
from backupchaos_targets.command import CommandTarget

pytestmark = [pytest.mark.needs("namespaces", "seccomp"), pytest.mark.slow]
EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
COPY = {"shell": "rm -rf {repository}/*; cp -a {source}/. {repository}/"}
BACK = {"shell": "cp -a {repository}/. {restore}/"}
DATED = {"shell": "n=$(ls {repository} | wc -l); cp -a {source} {repository}/$n"}
LIST = {"shell": "ls {repository} | sort -n"}
PICK = {"shell": "cp -a {repository}/{snapshot}/. {restore}/"}


def world(**fields: Any) -> Scenario:
    base = {"scenario": "normal", "title": "A cheat", "source": {"files": 25, "size": 2**20, "new": 2**18}}
    return Scenario.model_validate({**base, **fields}, strict=False)


ROT = world(
    scenario="rot",
    faults={"rot": {"repository.bitflip": "repository"}},
    expect={"restore": "loud", "older": "loud", "check": "fails"},
)


def cheat(**table: Any) -> CommandTarget:
    target = CommandTarget.from_table(
        "cheat", {"promises": {"features": ["symlinks"]}, **table}, EXAMPLES / "target.yaml"
    )
    assert isinstance(target, CommandTarget)
    return target


def row(run: Run, identity: str) -> Any:
    return next((check for check in run.checks if check.id == identity), None)


def test_links_to_the_source_are_no_backup(run_here: Callable[..., Run]) -> None:
    links = {"shell": "rm -rf {repository}/*; cp -as {source}/. {repository}/"}
    run = run_here(world(), cheat(backup=links, restore={"shell": "cp -rL {repository}/. {restore}/"}))
    assert run.verdict is Verdict.FAIL, run.result.headline


def test_a_restore_from_the_live_source_is_none(run_here: Callable[..., Run]) -> None:
    back = {"shell": "ls {repository}; cp -a /backupchaos/source/. {restore}/"}
    run = run_here(world(), cheat(backup=COPY, restore=back))
    assert run.verdict is Verdict.FAIL, run.result.headline


def test_a_restore_from_the_cache_is_none(run_here: Callable[..., Run]) -> None:
    keep = {"shell": "rm -rf {cache}/*; cp -a {source}/. {cache}/; date > {repository}/done"}
    run = run_here(
        world(), cheat(backup=keep, restore={"shell": "ls {repository}; cp -a {cache}/. {restore}/"})
    )
    assert run.verdict is Verdict.FAIL, run.result.headline


@pytest.mark.parametrize("place", ["$HOME", "{state}", "/var/tmp", "/dev/shm"])
def test_a_restore_from_a_spool_is_none(place: str, run_here: Callable[..., Run]) -> None:
    """Mirror and history alike: who cannot say that the tool had no room reserved does not say that it is well."""
    spool = {
        "shell": f"mkdir -p {place}/s; rm -rf {place}/s/*; cp -a {{source}}/. {place}/s/; date > {{repository}}/done"
    }
    run = run_here(
        world(), cheat(backup=spool, restore={"shell": f"ls {{repository}}; cp -a {place}/s/. {{restore}}/"})
    )
    assert row(run, "honest.stored").verdict is Verdict.UNVERIFIED, run.result.headline
    assert run.verdict is Verdict.UNVERIFIED
    dated = {
        "shell": f"n=$(ls {{repository}} | wc -l); mkdir -p {place}/s; cp -a {{source}} {place}/s/$n; date > {{repository}}/$n"
    }
    back = {"shell": f"ls {{repository}}; cp -a {place}/s/{{snapshot}}/. {{restore}}/"}
    run = run_here(world(), cheat(backup=dated, snapshots=LIST, restore=back))
    assert run.verdict is Verdict.UNVERIFIED, run.result.headline


def test_the_restored_root_must_be_restored(run_here: Callable[..., Run]) -> None:
    target = cheat(
        backup=COPY, restore={"shell": "ls {repository} {restore}"}, restored_root="/backupchaos/source"
    )
    with pytest.raises(UsageProblem, match="not below the restore directory"):
        run_here(world(), target)


def test_a_job_that_eats_its_source_is_accused(run_here: Callable[..., Run]) -> None:
    moved = {
        "shell": "n=$(ls {repository} | wc -l); cp -a {source} {repository}/$n; [ $n = 0 ] || rm -rf {source}/*"
    }
    run = run_here(world(), cheat(backup=moved, snapshots=LIST, restore=PICK))
    assert run.verdict is Verdict.FAIL
    assert row(run, "source").verdict is Verdict.FAIL
    assert "harness broke" not in run.result.headline


TAR = {"shell": "tar -xf {repository}/{snapshot} -C {restore}"}
NUMBERED = {"shell": "tar -cf {repository}/$(ls {repository} | wc -l) -C {source} ."}
NEWEST_LOST_FAULT = {"lost": {"repository.delete": "repository", "pick": "newest"}}
NEWEST_LOST = world(
    faults=NEWEST_LOST_FAULT,
    waive={"no_collateral": "the fault takes the older snapshot away", "recoverable": "see there"},
)


def test_a_name_that_damage_has_set_free_may_be_given_again(run_here: Callable[..., Run]) -> None:
    run = run_here(NEWEST_LOST, cheat(backup=NUMBERED, snapshots=LIST, restore=TAR))
    assert row(run, "honest").verdict is Verdict.PASS, run.result.headline
    assert run.verdict is Verdict.PASS, run.result.headline


@pytest.mark.parametrize("job", [NUMBERED, {"shell": "tar -cf {repository}/$(date +%s%N) -C {source} ."}])
def test_who_keeps_a_snapshot_in_one_file_is_not_accused_of_its_loss(
    job: dict[str, str], run_here: Callable[..., Run]
) -> None:
    """It is no longer listed, or its name is that of the new one: the fault alone has done that."""
    lost = world(faults=NEWEST_LOST_FAULT, expect={"older": "loud"})
    run = run_here(lost, cheat(backup=job, snapshots=LIST, restore=TAR))
    assert row(run, "no_collateral").verdict is Verdict.UNVERIFIED, run.result.headline
    assert run.verdict is Verdict.UNVERIFIED, run.result.headline


def test_an_old_snapshot_under_its_old_name_is_no_new_one(run_here: Callable[..., Run]) -> None:
    lazy = {"shell": "[ -e {repository}/0 ] || tar -cf {repository}/0 -C {source} ."}
    run = run_here(world(), cheat(backup=lazy, snapshots=LIST, restore=TAR))
    assert row(run, "honest").verdict is Verdict.FAIL
    assert row(run, "honest").observed.startswith("no new snapshot")


def test_an_old_snapshot_of_a_source_that_did_not_change_is_no_new_one(run_here: Callable[..., Run]) -> None:
    lazy = {"shell": "[ -e {repository}/0 ] || tar -cf {repository}/0 -C {source} ."}
    still = world(source={"files": 10, "size": 256 * 1024, "names": "portable", "new": 0, "change": "0%"})
    run = run_here(still, cheat(backup=lazy, snapshots=LIST, restore=TAR))
    assert row(run, "honest").verdict is Verdict.FAIL, run.result.headline


def test_an_old_snapshot_is_no_partial_one_of_a_source_whose_changes_are_all_excused(
    run_here: Callable[..., Run],
) -> None:
    lazy = {
        "shell": "[ -e {repository}/0 ] || exec tar -cf {repository}/0 -C {source} .; "
        "find {source} -type f -exec cat {} + > /dev/null || exit 3"
    }
    locked = world(
        source={"files": 10, "size": 256 * 1024, "names": "portable", "new": 4096, "change": "0%"},
        faults={"locked": {"file.locked": "source", "files": 4}},
    )
    target = cheat(backup=lazy, snapshots=LIST, restore=TAR, exit_codes={0: "success", 3: "partial"})
    run = run_here(locked, target)
    assert run.outcome == "partial", run.result.headline
    assert row(run, "honest").verdict is Verdict.FAIL, run.result.headline


def test_what_the_control_job_left_running_does_no_work_of_the_next_job(run_here: Callable[..., Run]) -> None:
    """It was born before there was a fault, and would meet none."""
    daemon = {
        "shell": "n=$(ls {repository} | wc -l); pgrep -x sleep && exit 1; cp -a {source} {repository}/$n; "
        "if [ $n = 0 ]; then setsid sleep 1000 > /dev/null 2>&1 & fi; true"
    }
    run = run_here(world(), cheat(backup=daemon, snapshots=LIST, restore=PICK))
    assert run.outcome == "success", run.result.headline
    assert row(run, "clean").verdict is Verdict.FAIL, "it was left behind all the same"


def test_a_check_that_always_fails_proves_nothing(run_here: Callable[..., Run]) -> None:
    run = run_here(ROT, cheat(backup=DATED, snapshots=LIST, restore=PICK, check="false"))
    assert run.verdict is Verdict.INVALID
    assert "sound repository" in run.result.headline


def test_a_tool_without_a_check_cannot_be_seen_to_find_damage(run_here: Callable[..., Run]) -> None:
    run = run_here(ROT, cheat(backup=DATED, snapshots=LIST, restore=PICK))
    assert row(run, "check").verdict is Verdict.UNVERIFIED
    assert run.verdict is not Verdict.PASS


def test_names_of_the_source_are_no_leftovers(run_here: Callable[..., Run], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "locks").mkdir(parents=True)
    for name in ("poetry.lock", "a.tmp", "locks/z", "download.partial"):
        (tree / name).write_text(name)
    run = run_here(
        world(source={"path": str(tree), "new": 2**18}), cheat(backup=DATED, snapshots=LIST, restore=PICK)
    )
    assert row(run, "clean").verdict is Verdict.PASS, row(run, "clean").observed


def test_a_target_cannot_waive_honesty() -> None:
    expect = {"disk_full": {"reason": "it is only a little lie", "waive": {"honest": "we know better"}}}
    with pytest.raises(UsageProblem, match="cannot waive"):
        cheat(backup=COPY, restore=BACK, expect=expect)


def test_an_honest_mirror_is_not_accused(run_here: Callable[..., Run]) -> None:
    clean = {"shell": "find {repository} -mindepth 1 -delete; cp -a {source}/. {repository}/"}
    run = run_here(world(), cheat(backup=clean, restore=BACK))
    assert run.verdict is Verdict.PASS, run.result.headline
    assert "in content" in row(run, "honest").observed


def test_the_example_of_the_documentation_works(run_here: Callable[..., Run], tmp_path: Path) -> None:
    for name in ("backup.sh", "target.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path / name)
    run = run_here(world(), resolve_target("./target.yaml", tmp_path))
    assert run.verdict is Verdict.PASS, run.result.headline


@pytest.mark.parametrize(("says", "honest"), [("$f", Verdict.PASS), ("a file", Verdict.FAIL)])
def test_a_partial_job_is_judged_by_the_names_it_gives(
    says: str, honest: Verdict, run_here: Callable[..., Run]
) -> None:
    """Its own disk failed for one file, which no fault has chosen."""
    part = {
        "shell": "n=$(ls {repository} | wc -l); cp -a {source} {repository}/$n; [ $n = 0 ] && exit 0; cd {repository}/$n; "
        f'f=$(find . -type f -name \'*.txt\' | head -1 | cut -c3-); rm "$f"; echo "warning: cannot write {says}" >&2; exit 3'
    }
    table = {"exit_codes": {0: "success", 3: "partial"}, "log": {"warning": "^warning"}}
    run = run_here(
        world(faults={"full": {"disk.slow": "repository"}}, expect={"outcome": "partial"}),
        cheat(backup=part, snapshots=LIST, restore=PICK, **table),
    )
    assert run.outcome == "partial", run.result.headline
    assert row(run, "honest").verdict is honest, row(run, "honest").observed
