"""Making the world: sandbox with volumes, source tree, service, link, workspace."""

from __future__ import annotations

import os
import sysconfig
from base64 import b64encode
from collections.abc import Collection, Mapping
from pathlib import Path

from backupchaos.engine.options import RunOptions
from backupchaos.engine.world import World
from backupchaos.environments.base import Place
from backupchaos.errors import HarnessBroken, MissingCapability, UsageProblem
from backupchaos.history import History
from backupchaos.model.scenario import STDLIB, Scenario
from backupchaos.services.base import Service
from backupchaos.targets.base import Location, RepositoryType, Target, Workspace
from backupchaos.trees import PORTABLE_FEATURES

MIB = 2**20
REMOTE = ("sftp", "s3", "rest", "webdav")
SERVICE_START = 30.0
PASSWORD = "correct horse battery staple"  # noqa: S105 - not a secret: the repository lives for one run


def choose_repository(scenario: Scenario, target: Target) -> RepositoryType:
    """The kind of repository this scenario gets with this target; raises ``MissingCapability``."""
    speaks = target.profile.speaks
    wanted = scenario.repository
    if wanted in speaks:
        return wanted
    if wanted not in {"any", "remote"}:
        # Another protocol over the link tells the same story.
        remote = wanted != "local"
        candidates = [kind for kind in speaks if (kind in REMOTE) is remote]
    elif scenario.needs_remote:
        candidates = [kind for kind in speaks if kind in REMOTE]
    else:
        candidates = list(speaks)
    if not candidates:
        raise MissingCapability(
            wanted if wanted not in {"any", "remote"} else "remote repository",
            f"target {target.name} speaks only {', '.join(speaks)}",
        )
    return candidates[0]


def real_source(path: str) -> Path:
    """The directory behind ``source.path``; ``{stdlib}`` is the running Python's library."""
    place = Path(sysconfig.get_paths()["stdlib"] if path == STDLIB else path)
    if not place.is_dir():
        raise UsageProblem(f"source.path: {str(place)!r} is not a directory on this machine")
    return place.resolve()


def excluded(path: str) -> tuple[str, ...]:
    """What is not part of a real source: of a standard library, whatever was installed into it."""
    return ("site-packages", "dist-packages", "__pycache__") if path == STDLIB else ()


def tree_size(path: Path, exclude: Collection[str] = ()) -> int:
    """Bytes in use below a directory, roughly; what cannot be read counts 0."""
    total = 0
    for root, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name not in exclude]
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue
    return total


def volume_sizes(scenario: Scenario) -> dict[Place, int]:
    """Volumes as declared, or with ample room for the source; tmpfs costs only what is used."""
    source = scenario.source
    size = tree_size(real_source(source.path), excluded(source.path)) if source.path else source.size
    data = size + source.new + source.files * 4096
    chosen = {
        Place.SOURCE: data * 2 + 32 * MIB,
        Place.REPOSITORY: data * 4 + 64 * MIB,
        Place.CACHE: data + 256 * MIB,
        Place.TEMP: data * 2 + 128 * MIB,
        Place.RESTORE: data * 3 + 64 * MIB,
        Place.STATE: 256 * MIB,
    }
    for name in ("source", "repository", "cache", "temp"):
        declared = getattr(scenario.volumes, name)
        if declared is not None:
            chosen[Place(name)] = declared
    return chosen


def make_source(world: World, scenario: Scenario, target: Target, seed: int) -> None:
    """Generate the tree from the seed, or copy the real one; what was left out is recorded."""
    root = world.path(Place.SOURCE)
    source = scenario.source
    if source.path is not None:
        limits = {"exclude": excluded(source.path)}
        summary = world.sandbox.call(
            "copy_tree", source=str(real_source(source.path)), destination=root, limits=limits
        )
    else:
        features = set(world.profile.features)
        if source.names == "portable":
            features &= set(PORTABLE_FEATURES)
        spec = {"files": source.files, "size": source.size, "features": sorted(str(f) for f in features)}
        summary = world.sandbox.call("build_tree", root=root, spec=spec, seed=seed)
    world.history.append("source", **{key: value for key, value in summary.items() if key != "kind"})


def start_repository(
    world: World, scenario: Scenario, target: Target, options: RunOptions
) -> tuple[Location, Mapping[str, str]]:
    """A directory, or a service behind a link; returns where it is, and words for the report."""
    kind = choose_repository(scenario, target)
    directory = world.path(Place.REPOSITORY)
    if kind == "local":
        # Made here, so that a plain copy script needs no init of its own; tools with one accept it empty.
        world.sandbox.call("make_directory", path=f"{directory}/repo")
        return Location("local", f"{directory}/repo"), {"repository": "local directory"}
    from backupchaos.links.links import Links
    from backupchaos.services.registry import service_for

    service: Service = service_for(kind)
    service.available()
    state = world.path(Place.STATE)
    for path, content, mode in service.files(state):
        world.sandbox.call("write_file", path=path, base64=b64encode(content).decode(), mode=mode)
    port = world.sandbox.call("free_port")
    world.service_pid = world.start_service(service.command(directory, state, port))
    _wait_for(world, service, port)
    links = Links(world.sandbox, options.seed, options.link_server)
    world.use_links(links)
    world.link = links.create("repository", port)
    words = {"repository": f"{kind} ({service.name})", "link": links.server_used}
    return service.location(world.link.port), words


def _wait_for(world: World, service: Service, port: int) -> None:
    """Connect until the service answers; its own words if it dies instead."""
    greeting = service.greeting()

    def up() -> bool:
        if world.service_pid in world.exits:
            words = "; ".join(world.service_lines[-3:])
            raise HarnessBroken(
                f"{service.name} ended while it was starting: {words or 'it printed nothing'}"
            )
        try:
            with world.sandbox.connect(port) as connection:
                if greeting is None:
                    return True
                connection.settimeout(5)
                return connection.recv(len(greeting)) == greeting
        except OSError:
            return False

    if not world.loop.pump_until(up, SERVICE_START):
        raise HarnessBroken(f"{service.name} did not answer on port {port} within {SERVICE_START:g} s")


def make_world(
    scenario: Scenario, target: Target, options: RunOptions, history: History
) -> tuple[World, Mapping[str, str]]:
    """Everything up to a ready repository; the caller closes the world whatever happens."""
    expose = list(target.expose())
    if scenario.source.path is not None:
        expose.append(str(real_source(scenario.source.path)))
    sandbox = options.environment.sandbox(volume_sizes(scenario), expose=expose)
    world = World(sandbox, history)
    world.profile = target.profile_for(choose_repository(scenario, target))
    try:
        make_source(world, scenario, target, options.seed)
        location, words = start_repository(world, scenario, target, options)
        world.workspace = Workspace(
            source=world.path(Place.SOURCE),
            location=location,
            cache=world.path(Place.CACHE),
            temp=world.path(Place.TEMP),
            state=world.path(Place.STATE),
            restore=world.path(Place.RESTORE),
            password=PASSWORD,
        )
    except BaseException:
        world.close()
        raise
    return world, {"environment": sandbox.name, "isolation": sandbox.mechanism, **words}
