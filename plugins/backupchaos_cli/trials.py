"""What ``doctor`` tries outside the sandbox's own capabilities: links, services, targets, docker."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from backupchaos.commands import Completed
from backupchaos.engine.choosing import REMOTE
from backupchaos.environments.base import Environment, Place
from backupchaos.errors import BackupChaosError, MissingCapability
from backupchaos.services.base import Service
from backupchaos.services.databases.base import Database
from backupchaos.session.progress import harmless
from backupchaos.targets.registry import resolve_target, target_names

_PATIENCE = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: whether it works, what was seen, what to install if it does not."""

    group: str
    name: str
    good: bool
    detail: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)


def sandboxes() -> Iterator[Finding]:
    """Open a sandbox of each local mechanism by itself, in the order in which a run tries them; containers never follow."""
    from backupchaos.environments.local.environment import MECHANISMS, LocalEnvironment, candidates

    order = candidates("auto")
    for mechanism in MECHANISMS:
        if mechanism not in order:
            yield Finding("sandboxes", mechanism, False, "only as root, with the right to mount")
            continue
        try:
            LocalEnvironment(mechanism).sandbox(dict.fromkeys(Place, 2**20)).close()
        except BackupChaosError as problem:
            yield Finding("sandboxes", mechanism, False, harmless(problem))
        else:
            yield Finding(
                "sandboxes", mechanism, True, f"opens; number {order.index(mechanism) + 1} of those tried"
            )


def links(environment: Environment) -> Iterator[Finding]:
    """Start each link server in a sandbox of its own, and make a link with it."""
    from backupchaos.links.links import Links
    from backupchaos.links.realserver import PROGRAM

    hint = "only wanted for --backup-link=toxiproxy; the embedded server needs nothing"
    if shutil.which(PROGRAM) is None:
        yield Finding("links", PROGRAM, False, "not found on PATH", hint)
        servers = [("embedded", "embedded")]
    else:
        servers = [("embedded", "embedded"), ("toxiproxy", PROGRAM)]
    for word, name in servers:
        try:
            sandbox = environment.sandbox(dict.fromkeys(Place, 2**20))
        except BackupChaosError as problem:
            yield Finding("links", name, False, str(problem))
            continue
        try:
            made = Links(sandbox, 0, word)  # type: ignore[arg-type]
            try:
                made.create("doctor", int(sandbox.call("free_port")))
                yield Finding("links", name, True, f"a link works ({made.server_used})")
            finally:
                made.close()
        except (BackupChaosError, OSError) as problem:
            yield Finding("links", name, False, str(problem))
        finally:
            sandbox.close()


def services() -> Iterator[Finding]:
    """The servers for each kind of repository, and the databases that a job may need besides."""
    from backupchaos.services.databases.registry import KINDS, database_for
    from backupchaos.services.registry import default_name, kinds_of, servers_for, service_for, service_names

    for name in service_names():
        try:
            kinds_of(name)
        except BackupChaosError as problem:
            yield Finding("services", name, False, harmless(problem))
    for kind in REMOTE:
        for name in servers_for(kind):
            words = "the default" if name == default_name(kind) else f"with --service {name}"
            yield _service(f"{kind}: {name}", partial(service_for, kind, name), words)
    for database in KINDS:
        yield _service(f"database: {database}", partial(database_for, database), "")


def _service(label: str, make: Callable[[], Service | Database], words: str) -> Finding:
    try:
        made = make()
    except MissingCapability as gap:
        return Finding("services", label, False, gap.reason, gap.hint)
    except BackupChaosError as problem:
        return Finding("services", label, False, str(problem))
    return Finding("services", label, True, ", ".join(filter(None, (made.name, words))))


def targets() -> Iterator[Finding]:
    """Each adapter, with the version that its tool prints."""
    for name in target_names():
        try:
            target = resolve_target(name)
            target.available()
        except MissingCapability as gap:
            yield Finding("targets", name, False, gap.reason, gap.hint)
            continue
        except BackupChaosError as problem:
            yield Finding("targets", name, False, str(problem))
            continue
        command = target.version()
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **command.env}
        try:
            done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
                command.argv,
                env=env,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                errors="backslashreplace",
            )
        except (OSError, subprocess.SubprocessError) as problem:
            yield Finding("targets", name, False, f"cannot say its version: {problem}")
            continue
        words = target.parse_version(Completed(command, done.returncode, done.stdout, done.stderr, 0.0))
        yield Finding("targets", name, done.returncode == 0, harmless(words))


def docker() -> Finding:
    """Whether a daemon on this machine answers, and has the image that sandboxes of containers need."""
    from backupchaos.environments.docker import engine, images, names

    try:
        client = engine.connect()
    except MissingCapability as gap:
        return Finding("docker", "daemon", False, harmless(gap.reason), gap.hint)
    try:
        words = harmless(engine.describe(client))
        images.need(client, names.AGENT_IMAGE)
    except MissingCapability as gap:
        return Finding("docker", "daemon", False, f"{words}, but {harmless(gap.reason)}", gap.hint)
    except Exception as problem:  # the SDK lets errors of the transport through
        return Finding("docker", "daemon", False, harmless(problem, 120), "see: docker info")
    finally:
        client.close()
    return Finding("docker", "daemon", True, words)
