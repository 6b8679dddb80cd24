"""Which kind of repository a scenario gets with a target, and which other services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backupchaos.environments.base import Containing, Environment
from backupchaos.errors import BackupChaosError, MissingCapability, UsageProblem
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.scenario import Scenario, ServiceKind
from backupchaos.services.base import Imaged
from backupchaos.services.databases.base import Database
from backupchaos.services.databases.registry import KINDS, database_for, make_database
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.targets.base import Contained, DatabaseKind, Profile, RepositoryType, Target

REMOTE: tuple[RepositoryType, ...] = ("sftp", "s3", "rest", "webdav")


def make_sure_of(target: Target, environment: Environment) -> None:
    """The target can be run there; raises ``MissingCapability``."""
    if isinstance(environment, Containing):
        environment.need_image(image_of(target))
    else:
        target.available()


def make_sure_of_server(kind: RepositoryType, servers: Servers, environment: Environment) -> None:
    """The server for this kind can be run there, or on this machine; raises ``MissingCapability``."""
    if not isinstance(environment, Containing):
        servers.make(kind)
    elif isinstance(service := servers.make(kind, imaged=True), Imaged):
        environment.need_image(service.image)


def make_databases(kinds: Mapping[str, DatabaseKind], environment: Environment) -> dict[str, Database]:
    """A fresh database for each service; raises ``MissingCapability`` where one cannot be run there."""
    if not isinstance(environment, Containing):
        return {name: database_for(kind) for name, kind in kinds.items()}
    databases = {name: make_database(kind) for name, kind in kinds.items()}
    for database in databases.values():
        environment.need_image(database.image)
    return databases


def programs_of(databases: Iterable[Database], environment: Environment) -> list[str]:
    """Paths of this machine that these databases must see there; none in containers, which have their own."""
    if isinstance(environment, Containing):
        return []
    return [path for database in databases for path in database.expose()]


def image_of(target: Target) -> str:
    """The image for a target's container; empty for the one with Python."""
    return target.image if isinstance(target, Contained) else ""


def shown(target: Target, environment: Environment) -> Sequence[str]:
    """Paths of this machine that the target's processes must see there."""
    if isinstance(environment, Containing) and isinstance(target, Contained):
        return target.carried()
    return target.expose()


def check_repository(wanted: str, target: Target, option: str) -> None:
    """A scenario may be told over another protocol than it names; what the user names is meant.

    Raises ``UsageProblem`` for a kind that the target does not speak; an empty one is none.
    """
    speaks = target.profile.speaks
    if wanted not in {"", "any", "remote", *speaks}:
        raise UsageProblem(f"{option}={wanted}: target {target.name} speaks only {', '.join(speaks)}")


def choose_repository(scenario: Scenario, target: Target, servers: Servers = DEFAULT) -> RepositoryType:
    """The kind of repository this scenario gets with this target; raises ``MissingCapability``.

    Where the scenario leaves it open, a kind whose server the user has named comes first.
    """
    speaks = sorted(target.profile.speaks, key=lambda kind: kind not in servers.names)
    wanted = scenario.repository
    if wanted == "local":
        _need_no_link(scenario)
    if wanted in speaks:
        return _with_a_fair_server(scenario, [wanted], servers)
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
            f"target {target.name} speaks only {', '.join(target.profile.speaks)}",
        )
    return _with_a_fair_server(scenario, candidates, servers)


def _need_no_link(scenario: Scenario) -> None:
    """Of a file the loader says it, with the line; but the kind may come from an option or a test."""
    for fault in scenario.faults.values():
        if fault.on_link == REPOSITORY:
            part = "link" if fault.needs_link else "server"
            raise MissingCapability(
                "link",
                f"{fault.kind} needs a {part}, and a local repository has none",
                "leave the repository open, or choose remote",
            )


_OTHER_SERVER = {"rest": "use the server rest-server, or "}


def _with_a_fair_server(
    scenario: Scenario, candidates: Sequence[RepositoryType], servers: Servers
) -> RepositoryType:
    """The first kind whose server does not lose by itself what the tool is asked for later."""
    stranding = [fault.kind for fault in scenario.faults.values() if fault.leaves_stranded and not fault.tier]
    if not stranding:
        return candidates[0]
    unfair = {kind: why for kind in candidates if (why := _retracts(kind, servers))}
    fair = [kind for kind in candidates if kind not in unfair]
    if not fair:
        raise MissingCapability(
            "fair server",
            f"{stranding[0]} leaves uploads hanging, and the server for {candidates[0]} is no fair judge then: "
            f"{unfair[candidates[0]]}",
            _OTHER_SERVER.get(candidates[0], "")
            + "use repository: sftp, s3 or webdav, if the target speaks it",
        )
    return fair[0]


def _retracts(kind: RepositoryType, servers: Servers) -> str:
    from backupchaos.services.base import Retracting

    if kind == "local":
        return ""
    try:
        service = servers.make(kind, imaged=True)
    except MissingCapability:
        return ""  # which is told where it is started
    return service.retracts if isinstance(service, Retracting) else ""


def with_needed_services(scenario: Scenario, profile: Profile) -> Scenario:
    """The scenario with the services that this target cannot do without, whether it names them or not."""
    missing: dict[str, ServiceKind] = dict.fromkeys(sorted(profile.needs - scenario.services.keys()), "any")
    if not missing:
        return scenario
    return scenario.model_copy(update={"services": {**scenario.services, **missing}})


def choose_services(
    scenario: Scenario, target: Target, servers: Servers = DEFAULT
) -> dict[str, DatabaseKind]:
    """The kind of each service besides the repository; raises ``MissingCapability`` for what the target does not use.

    Where the scenario leaves it open, a kind that the user has named comes first. A fault on such a service could never bite, and a job that ignores it would look as if it had survived.
    """
    uses = target.profile.uses
    chosen: dict[str, DatabaseKind] = {}
    for name, wanted in scenario.services.items():
        if name not in uses:
            known = f"; it uses {', '.join(sorted(uses))}" if uses else ""
            raise MissingCapability("services", f"target {target.name} uses no service {name}{known}")
        speaks = uses[name] or KINDS
        if wanted != "any" and wanted not in speaks:
            raise MissingCapability(
                "services", f"target {target.name} speaks {', '.join(speaks)} with its {name}, not {wanted}"
            )
        preferred = [kind for kind in servers.databases if kind in speaks] or speaks
        chosen[name] = preferred[0] if wanted == "any" else wanted
    return chosen


def idle_servers(servers: Servers, runs: Iterable[tuple[Scenario, Target]], option: str) -> list[str]:
    """A line for each server that was named and that none of these runs would use.

    It would look as if the tool had been tried with it. Runs that cannot be made say so themselves.
    """
    kinds: dict[str, None] = {}
    databases: set[str] = set()
    for scenario, target in runs if servers != DEFAULT else ():
        try:
            kind = choose_repository(scenario, target, servers)
            needed = with_needed_services(scenario, target.profile_for(kind))
            databases.update(choose_services(needed, target, servers).values())
        except BackupChaosError:
            continue
        kinds[kind] = None
    if not kinds:
        return []
    other = option.replace("service", "repository")
    return [
        *(
            f"{option}={name} would change nothing: it serves {', '.join(serves)}, and what was selected uses "
            f"{', '.join(kinds)}. Add {other}={serves[0]}, or choose scenarios, or a target, with such a repository"
            for name, serves in servers.idle(kinds).items()
        ),
        *(
            f"{option}={name} would change nothing: no service of what was selected can be {name}. Choose scenarios, "
            "and a target, with a service whose kind is open"
            for name in servers.databases
            if name not in databases
        ),
    ]
