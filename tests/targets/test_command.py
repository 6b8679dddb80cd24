"""Targets written as YAML files or project tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupchaos.commands import Completed
from backupchaos.errors import MissingCapability, UsageProblem
from backupchaos.targets.base import Location, Tier, Workspace
from backupchaos_targets.command import CommandTarget

MINIMAL = "target: t\nbackup: cp -a {source} {repository}\nrestore: cp -a {repository} {restore}\n"
HOSTILE = "/r/a b'; touch /tmp/owned; '$(id)"


def make(tmp_path: Path, text: str) -> CommandTarget:
    file = tmp_path / "target.yaml"
    file.write_text(text)
    return CommandTarget.from_yaml(file)


def workspace(repository: str = "/r") -> Workspace:
    location = Location("sftp", repository, "127.0.0.1", 2222, "ann", "login-secret")
    return Workspace("/s", location, "/c", "/t", "/st", "/back", "repo-secret")


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageProblem) as caught:
        make(tmp_path, text)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def test_a_minimal_target_is_a_mirror(tmp_path: Path) -> None:
    target = make(tmp_path, MINIMAL)
    assert target.backup(workspace()).argv == ("cp", "-a", "/s", "/r")
    assert target.snapshots(workspace()) is None
    assert target.profile.history is False
    assert target.profile.speaks == ("local",)
    assert target.check(workspace()) is None and target.init(workspace()) == ()


def test_commands_for_people_in_need(tmp_path: Path) -> None:
    bare, work = make(tmp_path, MINIMAL), workspace()
    assert (bare.unlock(work), bare.prune(work), bare.drifted(work)) == (None, None, None)
    assert list(bare.cache_files(work)) == ["/c"]
    text = MINIMAL + (
        "unlock: rm {repository}/lock\nprune: {shell: 'find {repository} -delete'}\n"
        "other_version: ./new {source} {repository}\ncache: ['{cache}/db/', '{state}/../x']\n"
    )
    full = make(tmp_path, text)
    unlock, prune, drifted = full.unlock(work), full.prune(work), full.drifted(work)
    assert unlock is not None and prune is not None and drifted is not None
    assert unlock.argv == ("rm", "/r/lock")
    assert prune.argv == ("/bin/sh", "-c", "find /r -delete")
    assert drifted.argv == (f"{tmp_path}/new", "/s", "/r")
    assert full.cache_files(work) == ["/c/db", "/x"]
    with pytest.raises(MissingCapability, match="/new is not there"):
        full.available()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("prune: rm {snapshot}", "{snapshot} stands only in 'restore'"),
        ("cache: '{snapshot}'", "{snapshot} stands only in 'restore'"),
        ("other_version: ./new {source}", "target.yaml:4:1: missing-placeholder 'other_version'"),
        ("prune: [1]", "target.yaml:4:"),
        ("prun: x", "'prune'"),
    ],
)
def test_mistakes_in_them_are_located(line: str, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, MINIMAL + line + "\n")


def test_a_path_stays_one_word_with_and_without_a_shell(tmp_path: Path) -> None:
    target = make(tmp_path, MINIMAL)
    assert target.backup(workspace(HOSTILE)).argv[-1] == HOSTILE
    shell = make(
        tmp_path, MINIMAL.replace("cp -a {source} {repository}", "{shell: 'printf %s {repository} {source}'}")
    )
    command = shell.backup(workspace(HOSTILE))
    assert command.argv[:2] == ("/bin/sh", "-c")
    import subprocess

    assert subprocess.run(command.argv, capture_output=True, text=True, check=True).stdout == HOSTILE + "/s"


def test_braces_of_the_shell_and_literal_ones_stay(tmp_path: Path) -> None:
    target = make(tmp_path, MINIMAL + "check: {shell: 'echo ${HOME} ${x} {{a}} {repository}'}\n")
    command = target.check(workspace())
    assert command is not None and command.argv[2] == "echo ${HOME} ${x} {a} /r"


def test_secrets_go_through_the_environment_and_are_named(tmp_path: Path) -> None:
    command = make(tmp_path, MINIMAL + "env: {PW: '{password}', LOGIN: '{login_password}'}\n").backup(
        workspace()
    )
    assert command.env == {"PW": "repo-secret", "LOGIN": "login-secret"}
    assert command.secrets == ("repo-secret", "login-secret")


def test_programs_with_a_slash_are_beside_the_file_and_visible(tmp_path: Path) -> None:
    script = tmp_path / "tool.sh"
    script.write_text("#!/bin/sh\n")
    target = make(tmp_path, MINIMAL.replace("cp -a {source}", "./tool.sh {source}"))
    assert target.backup(workspace()).argv[0] == str(script)
    with pytest.raises(MissingCapability, match=r"tool\.sh is not there, or may not be executed"):
        target.available()
    script.chmod(0o755)
    target.available()
    assert str(script) in target.expose()


def test_log_grammar(tmp_path: Path) -> None:
    grammar = "log: {retry: 'again in', warning: careful, error: boom, json: {level: lvl, message: text, trace_id: id}}\n"
    target = make(tmp_path, MINIMAL + grammar)
    assert target.parse_log("stderr", "trying AGAIN in 3 s").retry
    assert target.parse_log("stderr", "be careful").level == "warning"
    assert target.parse_log("stdout", "Boom").level == "error"
    assert target.parse_log("stderr", "warning: boom").level == "error"  # the file's own words know best
    record = target.parse_log("stderr", '{"lvl": "ERROR", "text": "no", "id": "7"}')
    assert (record.level, record.message, record.trace_id, record.structured) == ("error", "no", "7", True)
    assert target.profile.log_fields == ("trace_id",)
    assert target.profile.retries == "log"


def test_expectations_are_refined_with_a_reason(tmp_path: Path) -> None:
    text = (
        MINIMAL + "expect: {file_locked: {retries: 0, outcome: partial, reason: it reads each file once}}\n"
    )
    refinement = make(tmp_path, text).profile.refinements["file_locked"]
    assert refinement.expect == {"outcome": ("partial",), "retries": (0, 0)}
    assert refinement.reason == "it reads each file once"
    assert "there is no 'reason'" in refused(tmp_path, text.replace(", reason: it reads each file once", ""))


def test_snapshots_are_lines(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace("{repository} {restore}", "{repository}/{snapshot} {restore}")
        + "snapshots: ls {repository}\n"
    )
    target = make(tmp_path, text)
    assert target.profile.history is True
    done = Completed(target.version(), 0, "a\n\n b \n", "", 0.0)
    assert target.parse_snapshots(done) == ["a", "b"]
    assert target.restore(workspace(), "b").argv == ("cp", "-a", "/r/b", "/back")


def test_a_pattern_finds_the_snapshots_in_a_list_of_another_form(tmp_path: Path) -> None:
    listed = 'snapshots: ls {repository}\nsnapshot: \'"id": *"([0-9a-f]+)"\'\n'
    target = make(tmp_path, MINIMAL.replace("{restore}", "{restore} {snapshot}", 1) + listed)
    text = '[{"id": "a1", "of": {"ID": "ff"}}, {"id":"b2"},\n {"id": "a1"}, {"id": "zz"}]'
    done = Completed(target.version(), 0, text, "", 0.1)
    assert target.parse_snapshots(done) == ["a1", "b2"]
    assert target.parse_snapshots(Completed(target.version(), 0, "[]", "", 0.1)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "chekc: ls {repository}\n", "target.yaml:4:1: unknown-key unknown key 'chekc'"),
        (MINIMAL + "chekc: ls {repository}\n", "Did you mean 'check'?"),
        ("target: t\nrestore: cp {repository} {restore}\n", "there is no 'backup'"),
        (
            MINIMAL.replace("{source}", "{sauce}"),
            "target.yaml:2:9: bad-placeholder 'backup': unknown placeholder {sauce}",
        ),
        (MINIMAL.replace("{source}", "/home"), "the command never uses {source}"),
        (MINIMAL.replace("{restore}", "/tmp/x"), "the command never uses {restore}"),
        (MINIMAL + "exit_codes: {3: partly}\n", "expected success, partial or failure, not 'partly'"),
        (MINIMAL + "exit_codes: {x: partial}\n", "expected a number from 0 to 255"),
        (MINIMAL + "exit_codes: {0: failure}\n", "exit code 0 means success"),
        (MINIMAL + "promises: {aspects: [contents]}\n", "Did you mean 'content'?"),
        (MINIMAL + "promises: {history: true}\n", "'history: true' needs 'snapshots'"),
        (MINIMAL + "snapshots: ls {repository}\n", "{snapshot} is missing"),
        (MINIMAL + "snapshot: '(a+)'\n", "the pattern 'snapshot' needs 'snapshots'"),
        (MINIMAL + "snapshot: 'a+'\n", "expected one pair of parentheses"),
        (MINIMAL + "snapshot: '(a)(b)'\n", "expected one pair of parentheses"),
        (MINIMAL + "repository: [ftp]\n", "expected local, sftp, s3, rest or webdav, not 'ftp'"),
        (MINIMAL + "log: {retry: '('}\n", "not a regular expression"),
        (MINIMAL + "log: {retry: '(a*)*b'}\n", "forever"),
        (MINIMAL + "check: 'echo \"x'\n", "cannot be split into words"),
        (MINIMAL + "check: {run: a, shell: b}\n", "expected either 'run' or 'shell'"),
        (MINIMAL + "check: {run: a, cdw: b}\n", "Did you mean 'cwd'?"),
        (MINIMAL + "check: 3\n", "'check': expected a mapping, not 3"),
        ("target: t\nbackup: [\n", "target.yaml:"),
        ("- a\n", "expected keys and values"),
        (MINIMAL.replace("target: t", "target: a/b"), "is no name"),
    ],
)
def test_mistakes_are_located_and_explained(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = refused(tmp_path, "target: t\nbackup: x {source} {repository}\nrestore: 7\nfoo: 1\nexpose: {}\n")
    assert text.count("target.yaml:") == 3


def test_a_table_gives_file_and_key(tmp_path: Path) -> None:
    table = {"backup": "cp {source} {repository}", "restore": "cp {repository} {restore}"}
    file = tmp_path / "pyproject.toml"
    assert CommandTarget.from_table("mine", table, file).name == "mine"
    with pytest.raises(
        UsageProblem, match=r"pyproject.toml: unknown-key tool.backupchaos.target.mine.chek: unknown"
    ):
        CommandTarget.from_table("mine", {**table, "chek": "x"}, file)
    with pytest.raises(UsageProblem, match="the table's name"):
        CommandTarget.from_table("mine", {**table, "target": "other"}, file)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ('file has vanished: "/source/a.csv"', "error"),
        ("tar: ./a: File removed before we read it", "error"),
        ("tar: ./a: file changed as we read it", "error"),
        ("tar: ./a: File shrank by 311511 bytes; padding with zeros", "error"),
        ("File size limit exceeded", "error"),
        ("backup.sh: line 5:    46 Killed    tar -C /source -cf - .", "error"),
        ("rsync: [sender] pipe: Too many open files (24)", "error"),
        ("cp: /source/a: Input/output error", "error"),
        ("ssh: connect to host nas port 22: Connection refused", "error"),
        ("warning: clock skew", "warning"),
        ("warning: retry 1: Connection reset by peer", "warning"),
        ("[WARN] cannot reach storage: fatal error, trying again", "warning"),
        ("Warning: denied", "warning"),
        ("cannot go on; warning: disk", "error"),
        ("error: too many warnings", "error"),
        ("warnings treated as errors: fatal", "error"),
        ("connecting to host nas port 22", "info"),
        ("freeing space on the link", "info"),
    ],
)
def test_a_line_without_structure_is_judged_by_its_words(line: str, level: str) -> None:
    """What a tool only does is no error, though it may name what breaks later."""
    from backupchaos_targets.parsing import plain_record

    assert plain_record(line).level == level


CATALOG = Tier("postgres", "127.0.0.1", 5432, "ann", "catalog-secret", "jobs")
WITH_CATALOG = (
    "target: t\nuses: {catalog: [postgres, redis]}\nneeds: catalog\n"
    "backup: ./tool {source} {repository} {catalog.url} {catalog.host}:{catalog.port}\n"
    "restore: cp -a {repository} {restore}\n"
    "env: {PGPASSWORD: '{catalog.password}'}\n"
    "recorded: {catalog: 'psql -U {catalog.user} -d {catalog.database} -Atc q'}\n"
    "log: {retry: again, links: {catalog: 'jobs database', repository: 'storage'}}\n"
)


def served() -> Workspace:
    plain = workspace()
    return Workspace(
        plain.source, plain.location, "/c", "/t", "/st", "/back", "repo-secret", {"catalog": CATALOG}
    )


def test_other_services_are_placeholders_with_a_dot(tmp_path: Path) -> None:
    target = make(tmp_path, WITH_CATALOG)
    command = target.backup(served())
    url = "postgresql://ann:catalog-secret@127.0.0.1:5432/jobs"
    assert command.argv[1:] == ("/s", "/r", url, "127.0.0.1:5432")
    assert command.env == {"PGPASSWORD": "catalog-secret"}
    assert "catalog-secret" in command.secrets and "catalog-secret" not in command.display()
    asked = target.recorded(served(), "catalog")
    assert asked is not None and asked.argv == ("psql", "-U", "ann", "-d", "jobs", "-Atc", "q")
    assert target.recorded(served(), "auth") is None
    assert target.profile.uses == {"catalog": ("postgres", "redis")}
    assert target.profile.needs == {"catalog"}


def test_a_service_that_is_not_there_leaves_its_placeholders_empty(tmp_path: Path) -> None:
    command = make(tmp_path, WITH_CATALOG).backup(workspace())
    assert command.argv[3:] == ("", ":")


@pytest.mark.parametrize(
    ("line", "uses"),
    [
        ("uses: catalog", {"catalog": ()}),
        ("uses: [catalog, auth]", {"catalog": (), "auth": ()}),
        ("uses: {catalog: redis}", {"catalog": ("redis",)}),
    ],
)
def test_what_it_uses_can_be_said_shortly(line: str, uses: object, tmp_path: Path) -> None:
    assert make(tmp_path, f"{MINIMAL}{line}\n").profile.uses == uses


def test_a_line_of_the_log_says_which_link_it_is_about(tmp_path: Path) -> None:
    target = make(tmp_path, WITH_CATALOG)
    said = [target.parse_log("stderr", f"{what}: again") for what in ("JOBS database", "storage", "disk")]
    assert [(record.retry, record.link) for record in said] == [
        (True, "catalog"),
        (True, "repository"),
        (True, ""),
    ]


def test_what_a_service_was_told_is_one_line_a_job(tmp_path: Path) -> None:
    target = make(tmp_path, WITH_CATALOG)

    def told(text: str) -> list[tuple[str, str]]:
        return target.parse_recorded(Completed(target.backup(served()), 0, text, "", 0.1))

    assert told("job 1 success\n\n 7f RUNNING\n") == [("job 1", "SUCCESS"), ("7f", "RUNNING")]
    with pytest.raises(ValueError, match="expected a job and its state, not 'nonsense'"):
        told("nonsense\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("check: x {catalog.url}", "'check': {catalog.url} is of a service that 'uses' does not name"),
        ("check: x {catalog.url}", "Add such as 'uses: [catalog]'."),
        ("uses: [catalog]\ncheck: x {catalogue.url}", "Did you mean 'catalog'? Names in 'uses': catalog."),
        ("uses: [catalog]\ncheck: x {catalog.uri}", "unknown word 'uri' in {catalog.uri}"),
        ("uses: [catalog]\ncheck: x {catalog.uri}", "Did you mean 'url'?"),
        ("uses: {catalog: oracle}", "4:17: unknown-word 'catalog': expected redis, postgres or mariadb"),
        ("uses: {Catalog: redis}", "'Catalog' is no name: expected lower-case letters"),
        ("uses: [source]", "'source' means something else already"),
        ("uses: 5", "'uses': expected a mapping"),
        ("needs: [catalog]", "'needs': 'uses' does not name the service 'catalog'"),
        ("recorded: {catalog: psql}", "'recorded': 'uses' does not name the service 'catalog'"),
        ("uses: [catalog]\nrecorded: {catalog: {rum: psql}}", "unknown key 'rum'"),
        ("uses: [catalog]\nrecorded: {catalog: [1]}", "target.yaml:5:21:"),
        ("log: {links: {catalog: x}}", "'log': 'links': 'uses' does not name the service 'catalog'"),
    ],
)
def test_mistakes_about_services_are_located(line: str, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, f"{MINIMAL}{line}\n")


def test_the_example_in_the_documentation(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/targets.md"
    (text,) = [part for part in page.read_text("utf-8").split("```yaml\n")[1:] if part.startswith("uses:")]
    example = text.partition("```")[0]
    target = make(tmp_path, f"target: t\nrestore: cp -a {{repository}} {{restore}}\n{example}")
    asked = target.recorded(served(), "catalog")
    assert asked is not None and "psql postgresql://ann:catalog-secret@127.0.0.1:5432/jobs" in asked.argv[2]
    assert target.profile.needs == {"catalog"}


def test_a_target_in_python_has_warnings_by_their_own_word_too() -> None:
    from backupchaos.targets.base import BaseTarget

    parse = BaseTarget().parse_log
    assert parse("stderr", "Warning: connection failed, trying again").level == "warning"
    assert parse("stderr", "connection failed").level == "error"
