"""What every adapter must do, as tests to inherit.

    class TestMyTool(TargetConformance):
        kind = "sftp"

        def make_target(self) -> Target:
            return MyTarget()

The commands run for real, on this machine, against a fresh repository per test. It judges the
adapter, not the tool: a tool may fail a fault scenario and its adapter still be right.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from backupchaos.commands import Completed
from backupchaos.errors import MissingCapability
from backupchaos.targets.base import LogRecord, Target
from backupchaos.targets.bench import Bench, without_override
from backupchaos.targets.conformance_parts import TargetParts
from backupchaos.trees.result import Aspect
from backupchaos.trees.spec import Feature

HOSTILE = (
    "",
    "{",
    "{}",
    "null",
    '{"level": 1, "msg": [], "message": {}, "type": 7, "message_type": null, "event": true}',
    '{"level": "error", "msg": "x", "delay_s": 1e999, "status_code": 99999999999999999999999}',
    "[" * 20_000,
    '{"a":' * 20_000 + "1" + "}" * 20_000,
    "\x1b[31m\x00\\xff\x07 returned error, retrying after 9999999999999999999999h: x",
    "Attempt 99999999999999999999999999/1",
    "x" * 100_000,
)
"""Lines that no adapter may stumble over."""


class TargetConformance(TargetParts):
    """Inherit it and say which target; the tests come along."""

    def test_profile_uses_known_words(self, target: Target) -> None:
        """Aspects, features and outcomes are words that the harness knows."""
        profile = self.profile(target)
        assert self.kind in profile.speaks
        assert profile.aspects <= {aspect.value for aspect in Aspect}
        assert profile.features <= {feature.value for feature in Feature}
        assert "content" in profile.aspects, "a backup that need not bring back content promises nothing"
        assert set(profile.exit_codes.values()) <= {"success", "partial", "failure"}
        assert all(refinement.reason.strip() for refinement in profile.refinements.values())

    def test_version_is_one_line(self, target: Target, bench: Bench) -> None:
        """The version is short and not empty."""
        version = target.parse_version(self.succeed(bench, target.version()))
        assert version.strip() and "\n" not in version and len(version) <= 200

    def test_asking_changes_nothing(self, target: Target, bench: Bench) -> None:
        """Adapters are pure: the same question has the same answer, and nothing is started or written."""
        before = sorted(bench.root.rglob("*"))
        assert self.commands(target, bench) == self.commands(target, bench)
        assert sorted(bench.root.rglob("*")) == before

    def test_secrets_stay_out_of_arguments(self, target: Target, bench: Bench) -> None:
        """Everybody can read a process's arguments; whatever is secret is named as such."""
        for command in self.commands(target, bench):
            for secret in filter(None, (bench.work.password, bench.work.location.password, *command.secrets)):
                assert not any(secret in argument for argument in command.argv), command.display()
                in_environment = any(secret in value for value in command.env.values())
                assert not in_environment or secret in command.secrets, (
                    f"{command.display()}: name the secret"
                )

    def test_every_backup_restores(self, target: Target, ready: Bench) -> None:
        """Two jobs; the list grows by one each, and both states come back (a mirror: the newer one)."""
        first = self.manifest(ready, "first")
        self.back_up(target, ready)
        before = self.names(target, ready)
        Path(ready.work.source, "data", "added").write_bytes(b"new in the second job" * 1000)
        second = self.manifest(ready, "second")
        self.back_up(target, ready)
        after = self.names(target, ready)
        self.assert_restores(target, ready, after[-1], second)
        if self.profile(target).history:
            assert len(before) == 1 and len(after) == 2 and after[0] == before[0], f"{before} {after}"
            self.assert_restores(target, ready, before[0], first)

    def test_lists_nothing_before_the_first_job(self, target: Target, ready: Bench) -> None:
        """An empty repository is no error."""
        if self.profile(target).history:
            assert self.names(target, ready) == []

    def test_wrong_snapshot_is_refused(self, target: Target, ready: Bench) -> None:
        """A restore of what does not exist must not look like a restore."""
        self.back_up(target, ready)
        if self.profile(target).history:
            assert not self.run(ready, target.restore(ready.work, "0123abcd")).ok

    def test_check_tells_whole_from_damaged(self, target: Target, ready: Bench) -> None:
        """The check passes on a good repository, and fails after one byte was flipped."""
        self.back_up(target, ready)
        command = target.check(ready.work)
        if command is None:
            return
        self.succeed(ready, command)
        if self.check_finds_damage:
            _flip(ready.repository)
            assert not self.run(ready, command).ok, "the check passes in spite of a flipped byte"

    def test_unlock_is_harmless(self, target: Target, ready: Bench) -> None:
        """With nothing to unlock it succeeds, and the repository stays usable."""
        self.back_up(target, ready)
        command = target.unlock(ready.work)
        if command is not None:
            self.succeed(ready, command)
            self.back_up(target, ready)

    def test_prune_keeps_every_snapshot(self, target: Target, ready: Bench) -> None:
        """It removes what no snapshot needs, and nothing else."""
        command = target.prune(ready.work)
        if command is None:
            return
        manifest = self.manifest(ready, "pruned")
        self.back_up(target, ready)
        names = self.names(target, ready)
        self.succeed(ready, command)
        assert self.names(target, ready) == names
        self.assert_restores(target, ready, names[-1], manifest)

    def test_missing_source_is_no_success(self, target: Target, ready: Bench) -> None:
        """A source that is not there must not be backed up as an empty one."""
        os.rename(ready.source, ready.root / "elsewhere")
        try:
            done = self.run(ready, target.backup(ready.work))
        except (FileNotFoundError, NotADirectoryError):
            return  # the job's working directory is the source; the sandbox reports that as a failure
        finally:
            os.rename(ready.root / "elsewhere", ready.source)
        assert self.profile(target).outcome(done.returncode) != "success"

    def test_unreadable_file_is_reported(self, target: Target, ready: Bench) -> None:
        """Not a success by exit code, and a record that is more than information names the file."""
        unreadable = ready.source / "data" / "unreadable-file"
        unreadable.write_bytes(b"secret")
        unreadable.chmod(0)
        try:
            command = without_override(target.backup(ready.work))
        except MissingCapability as missing:
            pytest.skip(str(missing))
        done = self.run(ready, command)
        assert self.profile(target).outcome(done.returncode) in {"partial", "failure"}, done.output[-3000:]
        records = self.records(target, done)
        assert any(r.level != "info" and unreadable.name in r.message for r in records), done.output[-3000:]

    def test_log_of_a_good_job(self, target: Target, ready: Bench) -> None:
        """No retries and no errors are seen where there were none; promised fields are there."""
        records = self.records(target, self.back_up(target, ready))
        alarming = [record for record in records if record.retry or record.level == "error"]
        if self.noise:
            alarming = [record for record in alarming if not re.search(self.noise, record.message)]
        assert not alarming, alarming[:5]
        fields = self.profile(target).log_fields
        structured = [record for record in records if record.structured]
        assert structured or not fields
        if "trace_id" in fields:
            assert len({record.trace_id for record in structured}) == 1 and structured[0].trace_id
        if "status_code" in fields:
            assert all(record.status_code is not None for record in structured)

    def test_hostile_lines_are_survived(self, target: Target) -> None:
        """Output is data: nothing in it may raise or become an endless pause."""
        for stream in ("stdout", "stderr"):
            for line in HOSTILE:
                _assert_sane(target.parse_log(stream, line))

    def test_output_that_is_not_understood(self, target: Target, bench: Bench) -> None:
        """Lists and states that make no sense are a ValueError, never an empty answer."""
        for text in ("", "garbage", "[1, 2]", '{"snapshots": 3, "archives": 3, "jobs": [{}]}'):
            done = Completed(target.version(), 0, text, "", 0.1)
            if target.snapshots(bench.work) is not None and self.lists_are_structured:
                self.assert_refuses(target.parse_snapshots, done)
            if target.states(bench.work) is not None:
                self.assert_refuses(target.parse_states, done)

    def assert_refuses(self, parse: object, done: Completed) -> None:
        """The parser says that it does not understand."""
        assert callable(parse)
        with pytest.raises(ValueError) as caught:
            parse(done)
        assert str(caught.value)

    def test_states_of_a_good_job(self, target: Target, ready: Bench) -> None:
        """A target that keeps states tells those of the newest job, in order of time."""
        if self.profile(target).states != "own":
            assert target.states(ready.work) is None
            return
        self.back_up(target, ready)
        command = target.states(ready.work)
        assert command is not None
        states = target.parse_states(self.succeed(ready, command))
        assert [state for state, _ in states] == ["PENDING", "RUNNING", "SUCCESS"]
        assert [when for _, when in states] == sorted(when for _, when in states)

    def test_nothing_outside_the_workspace(self, target: Target, ready: Bench) -> None:
        """Caches, configuration and locks stay in the places that the run provides."""
        self.back_up(target, ready)
        assert [str(path) for path in sorted((ready.root / "home").rglob("*"))] == []
        assert [str(path) for path in sorted((ready.root / "cwd").rglob("*"))] == []


def _assert_sane(record: LogRecord) -> None:
    assert record.level in {"info", "warning", "error"}
    assert isinstance(record.message, str)
    assert record.delay is None or 0 <= record.delay < 1e9
    assert record.status_code is None or isinstance(record.status_code, int)


def _flip(repository: Path) -> None:
    """Flip one byte in the middle of the largest file."""
    files = [path for path in repository.rglob("*") if path.is_file() and not path.is_symlink()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0xFF
    largest.write_bytes(data)
