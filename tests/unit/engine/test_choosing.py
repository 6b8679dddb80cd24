"""Which kind of repository a scenario gets with a target, and which other services."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from backupchaos.engine.choosing import (
    choose_repository,
    choose_services,
    idle_servers,
    with_needed_services,
)
from backupchaos.engine.tiers import check_places
from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.model.scenario import Scenario
from backupchaos.services import registry
from backupchaos.services.minio import Minio
from backupchaos.services.openssh import OpensshService
from backupchaos.services.rclone_serve import RcloneService
from backupchaos.services.rest_server import RestServer
from backupchaos.services.servers import DEFAULT, Servers
from backupchaos.targets.base import BaseTarget, Profile, RepositoryType

STRANDING = {"network.half_open": "repository", "when": {"at": 0.5}}


class Speaking(BaseTarget):
    name = "speaker"

    def __init__(self, *kinds: RepositoryType) -> None:
        self.profile = Profile(speaks=kinds, aspects=frozenset(), features=frozenset())


@pytest.fixture(autouse=True)
def no_program_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in (RcloneService, RestServer, Minio, OpensshService):
        monkeypatch.setattr(service, "available", lambda self: None)


def chosen(
    fault: dict[str, Any] | None, repository: str, *kinds: RepositoryType, servers: Servers = DEFAULT
) -> str:
    fields = {"scenario": "s", "title": "t", "repository": repository}
    faults = {"faults": {"f": fault}} if fault else {}
    scenario = Scenario.model_validate({**fields, **faults}, strict=False)
    return choose_repository(scenario, Speaking(*kinds), servers)  # type: ignore[arg-type]


def test_the_first_that_fits() -> None:
    assert chosen(None, "any", "local", "rest") == "local"
    assert chosen(None, "remote", "local", "rest", "sftp") == "rest"
    assert chosen(None, "sftp", "local", "rest", "s3") == "rest"
    assert chosen(None, "s3", "local", "rest", "s3") == "s3"


def test_a_server_that_takes_back_is_passed_over() -> None:
    assert chosen(STRANDING, "remote", "local", "rest", "s3", "sftp") == "s3"
    assert chosen(STRANDING, "any", "local", "rest", "sftp") == "sftp"
    assert chosen({"network.reset": "repository", "when": {"at": 0.5}}, "remote", "rest", "sftp") == "rest"


@pytest.mark.parametrize("wanted", ["rest", "remote"])
def test_where_there_is_no_other_there_is_no_run(wanted: str) -> None:
    with pytest.raises(MissingCapability, match=r"network\.half_open leaves uploads hanging.*no fair judge"):
        chosen(STRANDING, wanted, "local", "rest", *(("sftp",) if wanted == "rest" else ()))


def test_a_server_is_judged_by_what_it_does_wherever_its_program_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Any) -> Any:
        raise MissingCapability("rclone", "there is none")

    monkeypatch.setattr(RcloneService, "available", missing)
    assert chosen(None, "remote", "rest") == "rest"
    assert chosen(STRANDING, "remote", "rest", "s3") == "s3"


def test_a_missing_program_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(kind: RepositoryType, prefer: str | None = None) -> Any:
        raise MissingCapability("mine", "there is none")

    monkeypatch.setattr(registry, "make_service", lambda kind, prefer: SimpleNamespace(kind=kind))
    monkeypatch.setattr(registry, "service_for", missing)
    assert chosen(STRANDING, "remote", "rest") == "rest"


def story(**fields: Any) -> Scenario:
    return Scenario.model_validate({"scenario": "s", "title": "t", **fields}, strict=False)


class Using(BaseTarget):
    name = "user"

    def __init__(self, needs: tuple[str, ...] = (), **uses: tuple[Any, ...]) -> None:
        self.profile = Profile(
            speaks=("local", "rest", "sftp"),
            aspects=frozenset(),
            features=frozenset(),
            uses=uses,
            needs=frozenset(needs),
        )


def services(wanted: dict[str, str], servers: Servers = DEFAULT, **uses: tuple[Any, ...]) -> dict[str, str]:
    return dict(choose_services(story(services=wanted), Using(**uses), servers))  # type: ignore[arg-type]


def test_any_service_is_the_one_that_the_target_prefers() -> None:
    assert services({"catalog": "any"}, catalog=("postgres", "redis")) == {"catalog": "postgres"}
    assert services({"catalog": "any"}, catalog=()) == {"catalog": "redis"}
    assert services({"catalog": "mariadb"}, catalog=()) == {"catalog": "mariadb"}
    assert services({}, catalog=("redis",)) == {}


def test_a_database_that_was_named_is_used_where_the_scenario_leaves_it_open() -> None:
    named = Servers(databases=("mariadb", "postgres"))
    assert services({"catalog": "any"}, named, catalog=()) == {"catalog": "mariadb"}
    assert services({"catalog": "any"}, named, catalog=("redis", "postgres")) == {"catalog": "postgres"}
    assert services({"catalog": "any"}, named, catalog=("redis",)) == {"catalog": "redis"}
    assert services({"catalog": "redis"}, named, catalog=()) == {"catalog": "redis"}


def test_a_database_that_no_run_would_use_is_told() -> None:
    def told(target: Using, **fields: Any) -> list[str]:
        return idle_servers(Servers(databases=("postgres",)), [(story(**fields), target)], "--x")  # type: ignore[list-item]

    catalog = {"services": {"catalog": "any"}}
    assert told(Using(catalog=()), **catalog) == []
    assert told(Using(("catalog",), catalog=())) == []
    (line,) = told(Using(catalog=("redis",)), **catalog)
    assert line.startswith(
        "--x=postgres would change nothing: no service of what was selected can be postgres."
    )
    assert told(Using(catalog=())) == [line]


@pytest.mark.parametrize(
    ("wanted", "uses", "words"),
    [
        ({"catalog": "any"}, {}, "target user uses no service catalog$"),
        ({"auth": "any"}, {"catalog": ()}, "target user uses no service auth; it uses catalog"),
        ({"catalog": "mariadb"}, {"catalog": ("redis",)}, "speaks redis with its catalog, not mariadb"),
    ],
)
def test_what_the_target_does_not_use_is_not_covered(wanted: Any, uses: Any, words: str) -> None:
    with pytest.raises(MissingCapability, match=words):
        services(wanted, **uses)


def test_what_a_target_cannot_do_without_is_there_in_every_scenario() -> None:
    target = Using(("catalog",), catalog=("postgres",))
    plain = with_needed_services(story(), target.profile)
    assert choose_services(plain, target) == {"catalog": "postgres"}  # type: ignore[arg-type]
    named = story(services={"catalog": "redis"})
    assert with_needed_services(named, target.profile) is named


def test_a_fault_of_a_service_leaves_the_repository_local() -> None:
    faults = {"faults": {"f": {"network.half_open": "catalog", "when": {"at": 0.5}}}}
    scenario = story(services={"catalog": "redis"}, **faults)
    assert choose_repository(scenario, Using(catalog=())) == "local"  # type: ignore[arg-type]
    assert (scenario.needs_link, scenario.needs_remote) == (False, False)
    assert choose_repository(scenario, Speaking("rest")) == "rest"  # type: ignore[arg-type]


def test_a_scenario_made_in_python_hears_of_wrong_places_too() -> None:
    check_places(story(services={"catalog": "redis"}, faults={"f": {"network.down": "catalog"}}))
    with pytest.raises(UsageProblem, match=r"fault f: network\.down: there is no place 'catalgo'.*'catalog'"):
        check_places(story(services={"catalog": "redis"}, faults={"f": {"network.down": "catalgo"}}))
    with pytest.raises(UsageProblem, match="'source' means something else already"):
        check_places(story(services={"source": "redis"}))


REST_SERVER = Servers({"rest": "rest-server"})


@pytest.mark.parametrize("wanted", ["rest", "remote", "any"])
def test_rest_server_is_fair_where_rclone_is_not(wanted: str) -> None:
    assert chosen(STRANDING, wanted, "rest", "s3", servers=REST_SERVER) == "rest"
    if wanted != "rest":
        assert chosen(STRANDING, wanted, "rest", "s3") == "s3"


def test_a_server_that_was_named_is_used_where_the_scenario_leaves_it_open() -> None:
    minio = Servers({"s3": "minio"})
    for wanted in ("any", "remote"):
        assert chosen(None, wanted, "local", "rest", "s3", servers=minio) == "s3"
    assert chosen(None, "webdav", "local", "rest", "s3", servers=minio) == "s3"
    for own in ("local", "rest"):
        assert chosen(None, own, "local", "rest", "s3", servers=minio) == own
    assert chosen(None, "any", "local", "rest", servers=minio) == "local"


def test_a_server_that_no_run_would_use_is_told() -> None:
    def told(servers: Servers, *repositories: str) -> list[str]:
        runs = [
            (
                Scenario.model_validate({"scenario": "s", "title": "t", "repository": one}),
                Speaking("local", "sftp"),
            )
            for one in repositories
        ]
        return idle_servers(servers, runs, "--x")  # type: ignore[arg-type]

    assert told(DEFAULT, "local", "sftp") == []
    assert told(Servers({"sftp": "openssh"}), "local", "sftp") == []
    assert told(Servers({"sftp": "openssh"}), "any") == []
    (line,) = told(Servers({"s3": "minio"}), "local", "sftp")
    assert line.startswith(
        "--x=minio would change nothing: it serves s3, and what was selected uses local, sftp. "
    )
    assert told(Servers({"s3": "minio"})) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"network.down": "repository", "for": 1.0},
            "link: network.down needs a link, and a local repository",
        ),
        ({"service.kill": "repository", "for": 1.0}, "service.kill needs a server, and a local repository"),
    ],
)
def test_a_local_repository_has_nothing_between(fault: dict[str, Any], words: str) -> None:
    """The loader refuses such files; an option or a test may make one of any scenario."""
    with pytest.raises(MissingCapability, match=words):
        chosen(fault, "local", "local", "sftp")
    assert chosen(fault, "any", "local", "sftp") == "sftp"


def test_a_fault_of_another_service_leaves_a_local_repository_alone() -> None:
    kill = {"service.kill": "catalog", "for": 1.0}
    named = story(repository="local", services={"catalog": "any"}, faults={"f": kill})
    assert choose_repository(named, Using(catalog=())) == "local"  # type: ignore[arg-type]
