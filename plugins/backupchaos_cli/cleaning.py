"""``backupchaos cleanup``: what dead runs left behind, and with ``--all`` what was stored of all runs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from backupchaos.environments.local.journal import heal
from backupchaos.session.progress import harmless
from backupchaos_cli.console import say

STORED = ("history.jsonl", "results.json", "job.log", "repository.tar")
"""What a run's folder holds; anything else in it is somebody else's."""


def main(options: argparse.Namespace) -> int:
    """Undo what dead runs left; nothing that belongs to a live run, or that no run made, is touched."""
    dry: bool = options.dry_run
    lines = [*heal(dry_run=dry), *_containers(dry, everything=options.all)]
    if options.all:
        lines += _results(options.results, dry)
    for line in lines:
        say(f"would have: {line}" if dry else line)
    if not lines:
        say("nothing is left behind")
    return 0


def _containers(dry: bool, *, everything: bool) -> Iterator[str]:
    """What dead harnesses left on the Docker daemon; with ``everything`` what is kept for the next run too."""
    from backupchaos.environments.docker import engine, names
    from backupchaos.errors import MissingCapability

    if not _docker_in_reach():
        return
    try:
        client = engine.connect()
    except MissingCapability:
        return
    from docker.errors import DockerException

    try:
        for folder in engine.dead_folders():
            if not dry:
                shutil.rmtree(folder, ignore_errors=True)
            yield f"removed the folder {folder}"
        for kind, name, owner, remove in list(engine.ours(client)):
            if names.is_dead(owner) or (everything and not owner):
                yield f"removed the {kind} {name}" if dry else _removed(kind, name, remove)
    except (DockerException, OSError) as problem:
        yield f"asked Docker, in vain: {harmless(problem)}"
    finally:
        client.close()


def _docker_in_reach() -> bool:
    """Without a daemon's socket there is nothing to ask, and the SDK takes its time to load and to say so."""
    return bool(os.environ.get("DOCKER_HOST")) or any(
        path.is_socket()
        for path in (
            Path("/var/run/docker.sock"),
            Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "docker.sock"),
            Path("~/.docker/run/docker.sock").expanduser(),
        )
    )


def _removed(kind: str, name: str, remove: object) -> str:
    from docker.errors import APIError, NotFound

    try:
        remove()  # type: ignore[operator]
    except NotFound:
        pass  # somebody else was faster
    except APIError as problem:
        return f"could not remove the {kind} {name}: {problem.explanation or problem}"
    return f"removed the {kind} {name}"


def _results(folder: Path, dry: bool) -> Iterator[str]:
    """Only what a run stored: the path may be a mistake, and a link may lead anywhere."""
    runs = folder / "runs"
    found = False
    for place in sorted(runs.iterdir()) if runs.is_dir() and not runs.is_symlink() else ():
        if not _is_run(place):
            continue
        found = True
        if not dry:
            for name in STORED[1:] + STORED[:1]:  # the history last: it is how the rest is known again
                (place / name).unlink(missing_ok=True)
            try:
                place.rmdir()
            except OSError:
                yield f"kept {place}: it holds more than a run stores"
                continue
        yield f"removed {place}"
    report = folder / "report.html"
    if found and report.is_file() and not report.is_symlink():
        if not dry:
            report.unlink()
        yield f"removed {report}"


def _is_run(place: Path) -> bool:
    """A real folder of this user whose history begins as ours do."""
    try:
        info = place.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            return False
        if not stat.S_ISREG((place / STORED[0]).lstat().st_mode):
            return False
        with (place / STORED[0]).open("rb") as file:
            first = json.loads(file.readline(1 << 20) or b"0")
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("seq") == 0 and {"t", "kind"} <= set(first)
