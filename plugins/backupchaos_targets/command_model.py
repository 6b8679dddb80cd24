"""What a target file may say: a backup tool as command lines, and what it promises."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from backupchaos.model.base import Model
from backupchaos.model.expectations import Expectations, Law, Outcome
from backupchaos.model.faults.base import REPOSITORY
from backupchaos.model.patterns import check_pattern
from backupchaos.model.scenario import RESERVED
from backupchaos.model.words import Mistake, choices, listed, shown
from backupchaos.targets.base import TIER_WORDS, DatabaseKind, RepositoryType
from backupchaos.trees.result import CONTENT_ONLY, Aspect
from backupchaos.trees.spec import PORTABLE_FEATURES, Feature
from backupchaos.units import Duration

_NAMES = (
    "source repository restore snapshot cache temp state password host port user login_password key_file here"
)
PLACEHOLDERS = _NAMES.split()
DEFAULT_ASPECTS = tuple(sorted(aspect.value for aspect in CONTENT_ONLY))
DEFAULT_FEATURES = tuple(
    sorted({feature.value for feature in PORTABLE_FEATURES} | {"symlinks", "empty_dirs"})
)
# '${name}' is the shell's own; '{{name}}' stands for the text '{name}'. '{catalog.url}' is of another service.
_PLACEHOLDER = re.compile(r"\{\{|\}\}|(?<!\$)\{([a-z_]+|[a-z][a-z0-9_]*\.[a-z_]+)\}")


_IMAGE = r"^$|^[a-z0-9][A-Za-z0-9._:/@-]*$"


def placeholders(text: str) -> set[str]:
    """The names of the placeholders in ``text``."""
    return {found[1] for found in _PLACEHOLDER.finditer(text) if found[1]}


def fill(text: str, values: dict[str, str]) -> str:
    """``text`` with its placeholders replaced and doubled braces halved."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]] if found[1] else found[0][0], text)


def _known(text: str) -> str:
    """What is behind a dot is checked here; which services there are is known to the whole file only."""
    for name in sorted(placeholders(text)):
        _, dot, word = name.partition(".")
        if dot and word not in TIER_WORDS:
            hint = f"{choices(word, TIER_WORDS, 'Words')} Double the braces for a literal one: {{{{{name}}}}}"
            raise Mistake(f"unknown word '{word}' in {{{name}}}", code="bad-placeholder", hint=hint)
        if not dot and name not in PLACEHOLDERS:
            hint = f"{choices(name, PLACEHOLDERS, 'Placeholders')} Double the braces for a literal one: {{{{{name}}}}}"
            raise Mistake(f"unknown placeholder {{{name}}}", code="bad-placeholder", hint=hint)
    return text


Template = Annotated[str, Field(min_length=1, max_length=10_000), AfterValidator(_known)]


def _tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _words(value: Any) -> Any:
    """A command line in one text is split as a shell would, but no shell runs."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise Mistake(f"cannot be split into words: {error}", hint="Close the quotation.") from None
    if not words:
        raise Mistake(
            "an empty command line", hint="Write the program and its arguments, or leave the key out."
        )
    return words


Words = Annotated[tuple[Template, ...], BeforeValidator(_words), Field(min_length=1)]


class Line(Model):
    """One command: ``run`` without a shell, or ``shell`` for /bin/sh; ``cwd`` is where it runs."""

    run: Words | None = None
    shell: Template | None = None
    cwd: Template | None = None

    @model_validator(mode="after")
    def _one(self) -> Line:
        if (self.run is None) == (self.shell is None):
            raise Mistake(
                "expected either 'run' or 'shell'", hint="Write {run: program argument} or {shell: 'a | b'}"
            )
        return self

    def texts(self) -> Iterator[str]:
        """Everything in which placeholders can stand."""
        yield from self.run or ()
        yield from filter(None, (self.shell, self.cwd))


def _line(value: Any) -> Any:
    return {"run": value} if isinstance(value, str | list) else value


CommandLine = Annotated[Line, BeforeValidator(_line)]
Kinds = Annotated[tuple[RepositoryType, ...], BeforeValidator(_tuple), Field(min_length=1)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(check_pattern)]
Texts = Annotated[tuple[Template, ...], BeforeValidator(_tuple)]


def _one_group(pattern: str) -> str:
    if re.compile(pattern).groups == 1:
        return pattern
    raise Mistake(
        "expected one pair of parentheses, around the name", hint='Write such as \'"id":"([0-9a-f]+)"\'.'
    )


def _codes(value: Any) -> Any:
    """Keys are text, in YAML as read here and in TOML."""
    if not isinstance(value, dict):
        return value
    for key in value:
        if not re.fullmatch(r"\d{1,3}", str(key)) or int(key) > 255:
            raise Mistake(f"exit code {shown(key)}: expected a number from 0 to 255", key=str(key))
    return {int(key): outcome for key, outcome in value.items()}


ExitCodes = Annotated[dict[int, Outcome], BeforeValidator(_codes)]


def _uses(value: Any) -> Any:
    """Names alone, of services of any kind; or a name with the kinds that the tool speaks."""
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, list | tuple):
        return dict.fromkeys(value, ())
    if isinstance(value, dict):
        return {name: _tuple(kinds) for name, kinds in value.items()}
    return value


ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Uses = Annotated[dict[ServiceName, tuple[DatabaseKind, ...]], BeforeValidator(_uses)]
Names = Annotated[tuple[ServiceName, ...], BeforeValidator(_tuple)]


class JsonKeys(Model):
    """The keys of a log whose lines are JSON objects; what is named here is promised in every record."""

    level: str = "level"
    message: str = "message"
    trace_id: str | None = None
    status_code: str | None = None
    timestamp: str | None = None


class LogGrammar(Model):
    """How the tool's output is understood; patterns ignore case and match anywhere in a line."""

    retry: Pattern | None = None
    warning: Pattern | None = None
    error: Pattern | None = None
    links: dict[ServiceName, Pattern] = Field(default_factory=dict)
    json_keys: JsonKeys | None = Field(default=None, alias="json")


class Promises(Model):
    """What a restore must bring back, and what a source tree may hold."""

    aspects: Annotated[tuple[str, ...], BeforeValidator(_tuple), Field(min_length=1)] = DEFAULT_ASPECTS
    features: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = DEFAULT_FEATURES
    history: bool | None = None
    mtime_granularity: Duration | None = None

    @model_validator(mode="after")
    def _words_are_known(self) -> Promises:
        for key, known in (("aspects", [a.value for a in Aspect]), ("features", [f.value for f in Feature])):
            for word in getattr(self, key):
                if word not in known:
                    raise Mistake(f"unknown word {shown(word)}", hint=choices(word, known), key=key)
        return self


class Refined(Expectations):
    """Other expectations of one scenario, and why."""

    reason: str = Field(min_length=10, max_length=500)
    waive: dict[Law, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _owed_always(self) -> Refined:
        for law in ("honest", "no_collateral"):
            if law in self.waive:
                hint = "Only a scenario may waive it, where the fault itself does the damage."
                raise Mistake(f"a target cannot waive the law {law!r}", hint=hint, key="waive")
        return self


class TargetFile(Model):
    """A whole target file, or one table of pyproject.toml."""

    target: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
    repository: Kinds = ("local",)
    version: CommandLine | None = None
    init: CommandLine | None = None
    backup: CommandLine
    snapshots: CommandLine | None = None
    snapshot: Annotated[Pattern, AfterValidator(_one_group)] | None = None
    restore: CommandLine
    check: CommandLine | None = None
    unlock: CommandLine | None = None
    prune: CommandLine | None = None
    other_version: CommandLine | None = None
    stdin: CommandLine | None = None
    uses: Uses = Field(default_factory=dict)
    needs: Names = ()
    recorded: dict[ServiceName, CommandLine] = Field(default_factory=dict)
    cache: Texts = ("{cache}",)
    restored_root: Template = "{restore}"
    env: dict[str, Template] = Field(default_factory=dict)
    expose: Texts = ()
    image: Annotated[str, Field(pattern=_IMAGE, max_length=300)] = ""
    exit_codes: ExitCodes = {0: "success"}
    log: LogGrammar = LogGrammar()
    promises: Promises = Promises()
    expect: dict[str, Refined] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _makes_sense(self) -> TargetFile:
        everywhere = {name for text in self.env.values() for name in placeholders(text)}
        for key, line, needed in (
            ("backup", self.backup, "source"),
            ("backup", self.backup, "repository"),
            ("other_version", self.other_version, "source"),
            ("other_version", self.other_version, "repository"),
            ("stdin", self.stdin, "repository"),
            ("restore", self.restore, "repository"),
            ("restore", self.restore, "restore"),
        ):
            if line is None:
                continue
            used = everywhere.union(*(placeholders(text) for text in line.texts()))
            # A remote repository may be put together from its parts.
            if needed not in used and not (needed == "repository" and "port" in used):
                hint = f"Each run has places of its own: put {{{needed}}} into '{key}', or into a value of 'env'."
                raise Mistake(
                    f"the command never uses {{{needed}}}", code="missing-placeholder", hint=hint, key=key
                )
        self._check_history()
        self._check_services()
        return self

    def texts(self) -> Iterator[tuple[str, str]]:
        """(key, text) of everything in which placeholders can stand."""
        for key, value in self:
            lines = value.values() if key == "recorded" else (value,)
            for line in lines:
                if isinstance(line, Line):
                    yield from ((key, text) for text in line.texts())
        yield from (("env", text) for text in self.env.values())
        yield from (("cache", text) for text in self.cache)
        yield from (("expose", text) for text in self.expose)
        yield "restored_root", self.restored_root

    def _check_services(self) -> None:
        known = list(self.uses)
        hint = f"Names in 'uses': {', '.join(known)}." if known else "Add such as 'uses: [catalog]'."
        for key, text in self.texts():
            for name in sorted(placeholders(text)):
                service, dot, _ = name.partition(".")
                if dot and service not in known:
                    raise Mistake(
                        f"{{{name}}} is of a service that 'uses' does not name",
                        code="bad-placeholder",
                        hint=choices(service, known, "Names in 'uses'") if known else hint,
                        key=key,
                    )
        named = {"needs": self.needs, "recorded": tuple(self.recorded)}
        for key, names in named.items():
            for name in names:
                if name not in known:
                    raise Mistake(f"'uses' does not name the service {shown(name)}", hint=hint, key=key)
        for name in self.log.links:
            if name not in known and name != REPOSITORY:
                raise Mistake(
                    f"'links': 'uses' does not name the service {shown(name)}", hint=hint, key="log"
                )
        for name in known:
            if name in RESERVED:
                raise Mistake(
                    f"{shown(name)} means something else already", hint="Choose another.", key="uses"
                )

    def _check_history(self) -> None:
        names = any("snapshot" in placeholders(text) for text in self.restore.texts())
        first = (self.init, self.backup, self.snapshots, self.check, self.version)
        lines = (*first, self.unlock, self.prune, self.other_version, self.stdin, *self.recorded.values())
        elsewhere = [text for line in lines if line for text in line.texts()]
        elsewhere += [*self.env.values(), *self.cache]
        if any("snapshot" in placeholders(text) for text in elsewhere):
            raise Mistake("{snapshot} stands only in 'restore'", code="bad-placeholder", key="restore")
        if self.snapshots is not None and not names:
            hint = "Without it every snapshot would restore as the same one."
            raise Mistake("{snapshot} is missing, though 'snapshots' lists some", hint=hint, key="restore")
        if self.snapshot is not None and self.snapshots is None:
            hint = "Give the command in whose output it finds the names, or leave the pattern out."
            raise Mistake("the pattern 'snapshot' needs 'snapshots'", hint=hint, key="snapshot")
        if self.snapshots is not None and self.promises.history is False:
            raise Mistake("'history: false' and 'snapshots' contradict each other", key="promises")
        if self.snapshots is None and self.promises.history:
            hint = "Give a command that prints one name a line, oldest first, or leave 'history' out."
            raise Mistake("'history: true' needs 'snapshots'", hint=hint, key="promises")
        if 0 in self.exit_codes and self.exit_codes[0] != "success":
            raise Mistake("exit code 0 means success, here as everywhere", key="exit_codes")

    @classmethod
    def keys(cls) -> str:
        """All keys, for messages."""
        return listed(list(cls.model_fields))
