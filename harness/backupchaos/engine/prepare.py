"""Making the world: sandbox with volumes, source tree, servers, links, workspace."""

from __future__ import annotations

import os
import sysconfig
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backupchaos.commands import Command
from backupchaos.engine import guard
from backupchaos.engine.choosing import (
    choose_repository,
    choose_services,
    image_of,
    make_databases,
    programs_of,
    shown,
)
from backupchaos.engine.options import LinkServer, RunOptions
from backupchaos.engine.room import check_room
from backupchaos.engine.tiers import start_tiers
from backupchaos.engine.world import World
from backupchaos.environments.base import InContainers, Place
from backupchaos.errors import HarnessBroken, Misplaced, MissingCapability
from backupchaos.history import History
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.scenario import OTHER_SOURCE, STDLIB, Scenario, no_tree
from backupchaos.services.base import Imaged, Service
from backupchaos.services.health import serves
from backupchaos.targets.base import Location, Target, Workspace
from backupchaos.trees import PORTABLE_FEATURES

if TYPE_CHECKING:
    from backupchaos.links.links import Links
    from backupchaos.services.databases.base import Database

MIB = 2**20
SERVICE_START = 30.0
PASSWORD = "correct horse battery staple"  # noqa: S105 - not a secret: the repository lives for one run


def real_source(path: str) -> Path:
    """The directory behind ``source.path``; ``{stdlib}`` is the running Python's library."""
    place = Path(sysconfig.get_paths()["stdlib"] if path == STDLIB else path)
    if not place.is_dir():
        hint = "Name one that is here, or leave 'path' out for a generated source."
        raise Misplaced(("source", "path"), f"{str(place)!r} is not a directory on this machine", hint)
    found = place.resolve()
    if reason := no_tree(str(found)):  # a link may lead there
        raise Misplaced(("source", "path"), f"{str(place)!r} {reason}", OTHER_SOURCE)
    return found


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


def source_size(scenario: Scenario) -> int:
    """Bytes of the source, generated or real, with the fresh data of the change."""
    source = scenario.source
    size = tree_size(real_source(source.path), excluded(source.path)) if source.path else source.size
    return size + source.new


def volume_sizes(scenario: Scenario, size: int | None = None) -> dict[Place, int]:
    """Volumes as declared, or with ample room for the source; tmpfs costs only what is used.

    ``size`` is the source's, if it is known already.
    """
    data = (source_size(scenario) if size is None else size) + scenario.source.files * 4096
    chosen = {
        Place.SOURCE: data * 2 + 32 * MIB,
        Place.REPOSITORY: data * 4 + 64 * MIB,
        Place.CACHE: data + 256 * MIB,
        Place.TEMP: data * 2 + 128 * MIB,
        Place.RESTORE: data * 3 + 64 * MIB,
        Place.STATE: 256 * MIB * (1 + len(scenario.services)),
    }
    for name in ("source", "repository", "cache", "temp"):
        declared = getattr(scenario.volumes, name)
        if declared is not None:
            chosen[Place(name)] = declared
    return chosen


def begin_source(world: World, scenario: Scenario, seed: int) -> Callable[[], None]:
    """Generate the tree from the seed, or copy the real one, beside what comes next.

    The function that is returned waits for it; what was left out is recorded.
    """
    root = world.path(Place.SOURCE)
    source = scenario.source
    if source.path is not None:
        limits = {"exclude": excluded(source.path)}
        making = world.sandbox.begin(
            "copy_tree", source=str(real_source(source.path)), destination=root, limits=limits
        )
    else:
        features = set(world.profile.features)
        if source.names == "portable":
            features &= set(PORTABLE_FEATURES)
        spec = {"files": source.files, "size": source.size, "features": sorted(str(f) for f in features)}
        making = world.sandbox.begin("build_tree", root=root, spec=spec, seed=seed)

    def made() -> None:
        summary = making()
        world.history.append("source", **{key: value for key, value in summary.items() if key != "kind"})

    return made


def start_repository(
    world: World, scenario: Scenario, target: Target, options: RunOptions
) -> tuple[Location, Mapping[str, str]]:
    """A directory, or a service behind a link; returns where it is, and words for the report."""
    kind = choose_repository(scenario, target, options.servers)
    for name, kinds in options.servers.idle({kind}).items():
        text = f"the server {name} ({', '.join(kinds)}) had no part in this run: its repository is {kind}"
        world.history.append("note", text=text)
    directory = world.path(Place.REPOSITORY)
    if kind == "local":
        # Made here, so that a plain copy script needs no init of its own; tools with one accept it empty.
        world.sandbox.call("make_directory", path=f"{directory}/repo")
        return Location("local", f"{directory}/repo"), {"repository": "local directory"}
    from backupchaos.engine.controlled import Controlled
    from backupchaos.services.base import Forgetful, Furnished, Storing, Terse

    service = options.servers.make(kind, imaged=isinstance(world.sandbox, InContainers))
    state = world.path(Place.STATE)
    for path, content, mode in service.files(state):
        world.sandbox.call("write_file", path=path, base64=b64encode(content).decode(), mode=mode)
    port = world.sandbox.call("free_port")
    world.service_forgets = service.forgets if isinstance(service, Forgetful) else ""
    world.service_terse = service.terse if isinstance(service, Terse) else {}
    if isinstance(service, Storing):
        world.client_name = service.client_name
    controlled = Controlled(world, scenario, service, options.seed)

    def spawn() -> None:
        for folder in service.folders(directory) if isinstance(service, Furnished) else ():
            world.sandbox.call("make_directory", path=folder)
        world.service_pid = controlled.start(_serve(world, service, directory, state, port))

    def start() -> int:
        spawn()
        _wait_for(world, service, port)
        assert world.service_pid is not None
        return world.service_pid

    world.revive = start
    spawn()
    links = open_links(world, scenario, options)  # while the server gets ready
    _wait_for(world, service, port)
    guard.check_port(world.sandbox, port)
    world.link = links.create(REPOSITORY, controlled.front(port))
    words = {"repository": f"{kind} ({service.name})", "link": links.server_used}
    location = service.location(world.link.port)
    if (
        world.link.host != location.host
    ):  # containers reach one another by other addresses than the loopback's
        location = replace(location, host=world.link.host)
    return location, words


def open_links(world: World, scenario: Scenario, options: RunOptions) -> Links:
    """The links of this run, made when the first is needed."""
    from backupchaos.links.links import Links

    if world.links is None:
        server = _link_server(scenario, options)
        asking = (options.pull, options.remote_docker)
        world.use_links(Links(world.sandbox, options.seed, server, asking))
    assert world.links is not None
    return world.links


def start_services(
    world: World, scenario: Scenario, databases: Mapping[str, Database], options: RunOptions
) -> Mapping[str, str]:
    """The other services of the scenario; returns words for the report, nothing if there are none."""
    if not databases:
        return {}
    links = open_links(world, scenario, options)
    start_tiers(world, databases, links)
    world.services = {name: server.tier for name, server in world.tiers.items()}
    words = [f"{name}: {database.kind} ({database.name})" for name, database in databases.items()]
    return {"services": ", ".join(words), "link": links.server_used}


def _stand_on_outlet(world: World, scenario: Scenario) -> None:
    """Links stand on a network that can be taken away, where a fault is to do so; raises ``MissingCapability``."""
    if not any(fault.unplugs for fault in scenario.faults.values()):
        return
    from backupchaos.faults.network_unplugged import pluggable

    pluggable(world.sandbox).outlet()


def _named(world: World, scenario: Scenario, location: Location) -> Location:
    """Names instead of addresses, for those servers whose name a fault is about."""
    places = {fault.on_link: None for fault in scenario.faults.values() if fault.kind.startswith("dns.")}
    if not places or world.links is None:
        return location
    from backupchaos.links.names import give_names

    names = give_names(world.sandbox, world.links, list(places))
    world.services = {
        name: replace(tier, host=names.get(name, tier.host)) for name, tier in world.services.items()
    }
    return replace(location, host=names.get(REPOSITORY, location.host))


def _serve(world: World, service: Service, directory: str, state: str, port: int) -> Command:
    """The server's command; in containers in its own image, beside the link, which alone reaches it."""
    if not isinstance(world.sandbox, InContainers) or not isinstance(service, Imaged):
        return service.command(directory, state, port)
    world.sandbox.use_image_for("service", service.image)
    return service.command_in_image(directory, state, port, "127.0.0.1")


def _link_server(scenario: Scenario, options: RunOptions) -> LinkServer:
    """A fault whose proof is what the server tells needs the embedded one: the real one tells nothing."""
    from backupchaos.faults.registry import mechanisms

    known = mechanisms()
    exact = [name for name, spec in scenario.faults.items() if known[spec.kind].server_tells]
    if not exact or options.link_server == "embedded":
        return options.link_server
    if options.link_server != "auto":
        kind = scenario.faults[exact[0]].kind
        raise MissingCapability(
            "link events",
            f"{kind}: Toxiproxy does not tell what it has done",
            "use the embedded server",
        )
    return "embedded"


def _wait_for(world: World, service: Service, port: int) -> None:
    """Connect until the service answers; its own words if it dies instead."""

    def up() -> bool:
        if world.service_pid in world.exits:
            words = "; ".join(world.service_lines[-3:])
            raise HarnessBroken(
                f"{service.name} ended while it was starting: {words or 'it printed nothing'}"
            )
        # Asked of the kernel first: a connect that is refused would count as the job's, if this is a restart.
        if all(entry["port"] != port for entry in world.sandbox.call("network_stats")["listeners"]):
            return False
        try:
            with world.sandbox.connect(port) as connection:
                return serves(service, connection)
        except OSError:
            return False

    if not world.loop.pump_until(up, SERVICE_START):
        raise HarnessBroken(f"{service.name} did not answer on port {port} within {SERVICE_START:g} s")


def make_world(
    scenario: Scenario,
    target: Target,
    options: RunOptions,
    history: History,
    meanwhile: Callable[[World], None] = lambda world: None,
) -> tuple[World, Mapping[str, str]]:
    """Everything up to a ready repository; the caller closes the world whatever happens.

    ``meanwhile`` is called when all is there but perhaps the source, for what needs none.
    """
    kinds = choose_services(scenario, target, options.servers)
    databases = make_databases(kinds, options.environment)
    expose = [
        *shown(target, options.environment),
        *programs_of(databases.values(), options.environment),
    ]
    if scenario.source.path is not None:
        expose.append(str(real_source(scenario.source.path)))
    writable = guard.writable(scenario, options.results)
    sandbox = options.environment.sandbox(volume_sizes(scenario), expose=expose, writable=writable)
    if isinstance(sandbox, InContainers):
        sandbox.use_image_for("target", image_of(target))
    world = World(sandbox, history)
    world.profile = target.profile_for(choose_repository(scenario, target, options.servers))
    try:
        guard.check_hosts(scenario, sandbox)
        check_room(scenario, sandbox)
        if writable:
            history.append("note", text=f"not made by this run, and allowed: {', '.join(writable)}")
        source_made = begin_source(world, scenario, options.seed)
        _stand_on_outlet(world, scenario)
        location, words = start_repository(world, scenario, target, options)
        words = {**words, **start_services(world, scenario, databases, options)}
        location = _named(world, scenario, location)
        world.workspace = Workspace(
            source=world.path(Place.SOURCE),
            location=location,
            cache=world.path(Place.CACHE),
            temp=world.path(Place.TEMP),
            state=world.path(Place.STATE),
            restore=world.path(Place.RESTORE),
            password=PASSWORD,
            services=world.services,
        )
        meanwhile(world)
        source_made()
    except BaseException:
        world.close()
        raise
    return world, {"environment": sandbox.name, "isolation": sandbox.mechanism, **words}
