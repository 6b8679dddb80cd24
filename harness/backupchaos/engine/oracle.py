"""The restore oracle: manifests before, restores after, and what differs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from backupchaos.engine.moved import Moved, View
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken, UsageProblem
from backupchaos.faults.base import Leniency
from backupchaos.results import RestoreResult
from backupchaos.targets.base import Target
from backupchaos.trees import Aspect, Comparison, ManifestReader, compare, compare_either
from backupchaos.trees.entry import EntryType, to_bytes, to_text

SHOWN = 20
ABSENT = (Place.SOURCE, Place.CACHE, Place.TEMP)
"""Volumes that a restore does not find."""


class Manifest:
    """A scan of a tree inside the sandbox, held in memory of the harness."""

    def __init__(self, which: str, fd: int, summary: dict[str, Any]) -> None:
        self.which = which
        self._fd = fd
        self.identity: str = summary["identity"]
        self.entries: int = summary["entries"]
        self.size: int = summary["size"]
        self.errors: int = summary["errors"]
        self.first_errors: list[Any] = list(summary.get("first_errors", ()))

    @property
    def path(self) -> str:
        """Where it can be read."""
        return f"/proc/self/fd/{self._fd}"

    def close(self) -> None:
        """Give the memory back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Oracle:
    """Takes manifests and restores, and compares."""

    def __init__(self, world: World, target: Target) -> None:
        self._world = world
        self._target = target
        self._manifests: dict[str, Manifest] = {}
        self._kept: dict[str, int] = {}
        self._scanning: set[int] = set()
        self._moved: Moved | None = None

    def files(self, which: str) -> list[str]:
        """The regular files of a manifest, as relative paths."""
        reader = ManifestReader(self._manifests[which].path)
        return [to_text(entry.path) for entry in reader if entry.type is EntryType.FILE]

    def scan(self, which: str, path: str) -> Manifest:
        """Take a manifest of a directory inside; recorded in the history."""
        return self.begin_scan(which, path)()

    def begin_scan(self, which: str, path: str) -> Callable[[], Manifest]:
        """As ``scan``, beside what comes next: the function that is returned waits for it, and records it.

        Until then the harness has to leave the tree as it is.
        """
        fd = os.memfd_create(f"manifest {which}")
        self._scanning.add(fd)
        finish = self._world.sandbox.begin("scan_tree", fds=(fd,), root=path)

        def end() -> Manifest:
            summary = finish()
            self._scanning.discard(fd)
            return self._taken(Manifest(which, fd, summary))

        return end

    def _taken(self, manifest: Manifest) -> Manifest:
        which = manifest.which
        if which in self._manifests:
            self._manifests[which].close()
        self._manifests[which] = manifest
        if manifest.errors and which in {"M1", "M2"}:
            raise HarnessBroken(
                f"the source cannot be read in full ({manifest.errors} entries), so no restore can be judged: "
                f"{manifest.first_errors[:3]}"
            )
        self._world.history.append(
            "manifest",
            which=which,
            identity=manifest.identity,
            entries=manifest.entries,
            bytes=manifest.size,
            errors=manifest.errors,
        )
        return manifest

    def __getitem__(self, which: str) -> Manifest:
        return self._manifests[which]

    def source_changed(self, leniency: Mapping[str, Leniency]) -> None:
        """The source changed under the job: scan it as M3, and keep the contents that will be gone.

        To be called while the changes are there. Once they are taken back, ``restore`` can judge by it.
        """
        self.scan("M3", self._world.path(Place.SOURCE))
        for path in (path for path, how in leniency.items() if how == "prefix"):
            fd = os.memfd_create("M3 content")
            self._kept[path] = fd
            self._world.sandbox.call("set_aside", fds=(fd,), path=self._in_source(path))
        self._moved = Moved(leniency, self["M2"].path, self["M3"].path, self._begins)
        words = [f"{path} ({how})" for path, how in list(leniency.items())[:SHOWN]]
        self._world.history.append("source.leniency", paths=words)

    @property
    def lenient(self) -> bool:
        """Whether the source changed under the job, so that a restore may be equal to more than one tree."""
        return self._moved is not None

    def _begins(self, path: str, of_after: bool, length: int) -> str:
        """What a version of a file begins with: that of after was kept, that of before is the source again."""
        call = self._world.sandbox.call
        if of_after:
            return str(call("prefix_digest", fds=(self._kept[path],), length=length))
        return str(call("prefix_digest", length=length, path=self._in_source(path)))

    def _in_source(self, path: str) -> str:
        return f"{self._world.path(Place.SOURCE)}/{path}"

    def restore(
        self,
        which: str,
        snapshot: str,
        against: Manifest,
        *,
        also: Manifest | None = None,
        excused: Iterable[str] = (),
        moved: bool = False,
        as_job: bool = False,
        timeout: float,
    ) -> RestoreResult:
        """Restore a snapshot into the emptied restore volume and compare it.

        With ``also`` each path may be in either manifest's version. ``excused`` paths are left out on
        both sides: the job said that it could not read them. With ``moved`` the paths that changed under the
        job are judged as ``engine.moved`` says; then ``against`` must be M2. ``as_job`` gives it no more rights
        than the jobs of the run have: otherwise root restores with all of root's, since tools count on them there
        (GNU tar fills a directory of mode 0500 that way).
        """
        world = self._world
        world.sandbox.call("remove_tree", path=world.path(Place.RESTORE))
        # A disaster leaves neither the source nor a cache: what comes back must come from the repository.
        world.sandbox.conceal(ABSENT, True)
        try:
            command = self._target.restore(world.workspace, snapshot)
            done = world.run(command, what=f"restore {which}", timeout=timeout, full_rights=not as_job)
        finally:
            world.sandbox.conceal(ABSENT, False)
        actual = self._scan_restored(which)
        emptied = world.sandbox.begin("remove_tree", path=world.path(Place.RESTORE))
        try:
            comparison = self._compare(actual, against, also, tuple(excused), self._moved if moved else None)
        finally:
            emptied()
        if comparison.vacuous and against.entries:
            return self.not_restored(which, snapshot, "nothing could be compared in the aspects promised")
        # Whatever the comparison calls unequal must show in a count: its root, or what it could not read.
        different = comparison.different
        if not comparison.equal and not (different or comparison.missing or comparison.extra):
            different = 1
        result = RestoreResult(
            which=which,
            snapshot=snapshot,
            performed=True,
            returncode=done.returncode if not done.timed_out else -9,
            identical=comparison.identical,
            different=different,
            missing=comparison.missing,
            extra=comparison.extra,
            expected=comparison.expected,
            differences=tuple(str(difference)[:400] for difference in comparison.first),
            aspects=tuple(comparison.per_aspect),
            manifest=against.identity,
            duration=round(done.duration, 4),
            words="" if done.ok else done.last_words,
        )
        world.history.append("restore", **asdict(result))
        return result

    def _compare(
        self,
        actual: Manifest,
        against: Manifest,
        also: Manifest | None,
        excused: tuple[str, ...],
        moved: Moved | None,
    ) -> Comparison:
        profile = self._world.profile
        aspects = frozenset(map(Aspect, profile.aspects))
        granularity = profile.mtime_granularity_ns
        if excused:
            # A directory that an excused path lies in may have another time.
            aspects -= {Aspect.ROOT, Aspect.DIR_MTIME}
        if moved is not None:
            return moved.compare(
                actual.path,
                aspects,
                SHOWN,
                granularity=granularity,
                old=also.path if also is not None else None,
                excused=frozenset(map(to_bytes, excused)),
            )
        expected, found = (View.without(manifest.path, excused) for manifest in (against, actual))
        if also is None:
            return compare(expected, found, aspects, SHOWN, mtime_granularity_ns=granularity)
        aspects -= {Aspect.HARDLINKS, Aspect.ROOT}
        old = View.without(also.path, excused)
        return compare_either(old, expected, found, aspects, SHOWN, mtime_granularity_ns=granularity)

    def _scan_restored(self, which: str) -> Manifest:
        root = os.path.normpath(self._target.restored_root(self._world.workspace))
        below = self._world.path(Place.RESTORE)
        if root != below and not root.startswith(below + "/"):
            raise UsageProblem(
                f"target {self._target.name}: restored_root is {root}, which is not below the restore directory {below}"
            )
        if not _exists(self._world, root):
            # Nothing at all came back; an empty tree is what it amounts to.
            root = self._world.path(Place.RESTORE)
        return self.scan(f"restore.{which}", root)

    def not_restored(self, which: str, snapshot: str | None, reason: str) -> RestoreResult:
        """Record that a restore could not be made, and why."""
        result = RestoreResult(which, snapshot, performed=False, returncode=None, reason=reason)
        self._world.history.append("restore", **asdict(result))
        return result

    def begin_source_moved(self, which: str, after: str) -> Callable[[], str]:
        """Look whether the source differs from its manifest, beside what comes next.

        The function that is returned waits for the scan and tells it in words, none if it is the same. Nobody but the
        target can have changed it. A restore has to wait for that, since it hides the source.
        """
        before = self._manifests[which]
        scanned = self.begin_scan(f"{which}.again", self._world.path(Place.SOURCE))

        def end() -> str:
            now = scanned()
            if now.identity == before.identity:
                return ""
            first = compare(before.path, now.path, limit=3).first
            words = "; ".join(map(str, first)) or "its metadata"
            self._world.history.append("source.moved", after=after, words=words)
            return words

        return end

    def names(self) -> frozenset[str]:
        """Every file name in the source, before and after the change; a copy of one is no leftover."""
        return frozenset(
            to_text(entry.path.rsplit(b"/", 1)[-1])
            for which in ("M1", "M2", "M3")
            if which in self._manifests
            for entry in ManifestReader(self._manifests[which].path)
        )

    def close(self) -> None:
        """Give the memory back; idempotent."""
        for manifest in self._manifests.values():
            manifest.close()
        self._manifests.clear()
        for fd in (*self._kept.values(), *self._scanning):
            os.close(fd)
        self._kept.clear()
        self._scanning.clear()


def _exists(world: World, path: str) -> bool:
    try:
        world.sandbox.call("stat", path=path)
    except OSError:
        return False
    return True
