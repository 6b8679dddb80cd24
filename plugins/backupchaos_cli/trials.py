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
from backupchaos.engine.choosing import REMOTE, image_of, make_sure_of
from backupchaos.environments.base import Containing, Environment, Place
from backupchaos.errors import BackupChaosError, MissingCapability
from backupchaos.links.behind import NOTHING_ASKED, Asking, Server
from backupchaos.session.progress import harmless
from backupchaos.targets.base import RepositoryType, Target
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


def links(environment: Environment, asking: Asking = NOTHING_ASKED) -> Iterator[Finding]:
    """Start each link server in a sandbox of its own, and make a link with it; ``asking`` is for the official image."""
    from backupchaos.links.realserver import PROGRAM

    hint = "only wanted for --backup-link=toxiproxy; the embedded server needs nothing"
    yield _link(environment, "embedded", "embedded")
    if isinstance(environment, Containing):
        pass  # what is on PATH here is no matter there
    elif shutil.which(PROGRAM) is None:
        yield Finding("links", PROGRAM, False, "not found on PATH", hint)
    else:
        yield _link(environment, "toxiproxy", PROGRAM)
    yield _link(environment, "container", "official image", "only wanted for --backup-link=container", asking)


def _link(
    environment: Environment, word: Server, name: str, hint: str = "", asking: Asking = NOTHING_ASKED
) -> Finding:
    from backupchaos.links.links import Links

    try:
        sandbox = environment.sandbox(dict.fromkeys(Place, 2**20))
    except BackupChaosError as problem:
        return Finding("links", name, False, harmless(problem), hint)
    try:
        made = Links(sandbox, 0, word, asking)
        try:
            made.create("doctor", int(sandbox.call("free_port")))
            return Finding("links", name, True, f"a link works ({made.server_used})")
        finally:
            made.close()
    except MissingCapability as gap:
        return Finding(
            "links", name, False, harmless(gap.reason), f"{gap.hint}; {hint}" if gap.hint else hint
        )
    except (BackupChaosError, OSError) as problem:
        return Finding("links", name, False, harmless(problem), hint)
    finally:
        sandbox.close()


def services(environment: Environment) -> Iterator[Finding]:
    """The servers for each kind of repository, and the databases that a job may need besides.

    In containers their programs come from images, and it is no matter what this machine has.
    """
    from backupchaos.services.databases.registry import KINDS
    from backupchaos.services.registry import default_name, kinds_of, servers_for, service_names

    for name in service_names():
        try:
            kinds_of(name)
        except BackupChaosError as problem:
            yield Finding("services", name, False, harmless(problem))
    for kind in REMOTE:
        for name in servers_for(kind):
            words = "the default" if name == default_name(kind) else f"with --service {name}"
            yield _service(f"{kind}: {name}", partial(_server, kind, name, environment), words)
    for database in KINDS:
        yield _service(f"database: {database}", partial(_database, database, environment), "")


def _server(kind: RepositoryType, name: str, environment: Environment) -> tuple[str, str]:
    """Its own name, and its image if it comes from one; raises ``MissingCapability``."""
    from backupchaos.services.base import Imaged
    from backupchaos.services.registry import make_service, service_for

    if not isinstance(environment, Containing):
        return service_for(kind, name).name, ""
    made = make_service(kind, name)
    if not isinstance(made, Imaged):
        made.available()
        return made.name, ""
    environment.need_image(made.image)
    return made.name, made.image


def _database(kind: str, environment: Environment) -> tuple[str, str]:
    from backupchaos.services.databases.registry import database_for, make_database

    if not isinstance(environment, Containing):
        return database_for(kind).name, ""
    made = make_database(kind)
    environment.need_image(made.image)
    return made.name, made.image


def _service(label: str, make: Callable[[], tuple[str, str]], words: str) -> Finding:
    try:
        name, image = make()
    except MissingCapability as gap:
        return Finding("services", label, False, gap.reason, gap.hint)
    except BackupChaosError as problem:
        return Finding("services", label, False, str(problem))
    return Finding("services", label, True, ", ".join(filter(None, (name, image, words))))


def targets(environment: Environment) -> Iterator[Finding]:
    """Each adapter, with the version that its tool prints, or with the image that it comes from."""
    for name in target_names():
        try:
            target = resolve_target(name)
            if isinstance(environment, Containing):
                make_sure_of(target, environment)
                yield Finding("targets", name, True, image_of(target) or "in the image with Python")
                continue
            target.available()
        except MissingCapability as gap:
            yield Finding("targets", name, False, gap.reason, gap.hint)
        except BackupChaosError as problem:
            yield Finding("targets", name, False, str(problem))
        else:
            yield _version(name, target)


def _version(name: str, target: Target) -> Finding:
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
        return Finding("targets", name, False, f"cannot say its version: {problem}")
    words = target.parse_version(Completed(command, done.returncode, done.stdout, done.stderr, 0.0))
    return Finding("targets", name, done.returncode == 0, harmless(words))


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
