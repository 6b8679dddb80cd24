"""YAML text to plain values, remembering where each key and value stands.

Built from the parser's event stream: nothing is constructed from tags, aliases never expand, and depth and
size are bounded before any value exists. Scalars follow the YAML 1.2 core schema, so ``on``, ``1:30`` and
dates stay text. Mistakes are collected, so that one reading of the file reports all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from backupchaos.model.scalars import resolve
from backupchaos.model.words import escape, shorten

DEPTH_LIMIT = 20
NODE_LIMIT = 10_000
Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Spot:
    """A place in the text, counted from 1, and how many characters to underline."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True)
class Flaw:
    """A mistake in the YAML itself."""

    spot: Spot
    code: str
    message: str
    hint: str = ""


@dataclass
class Document:
    """The values of a file and where they stand."""

    data: Any = None
    values: dict[Path, Spot] = field(default_factory=dict)
    keys: dict[Path, Spot] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    unusable: set[Path] = field(default_factory=set)
    """Places whose value is a stand-in, because the real one was refused: nothing more is said of them."""

    def find(self, path: Path, at_key: bool = False) -> Spot:
        """The place of ``path``, or of the nearest parent that is in the file."""
        for end in range(len(path), -1, -1):
            here = path[:end]
            # A missing key is shown at its parent's key, the only entry of a list that was not written as
            # one at the value itself.
            value_first = (not at_key) if end == len(path) else isinstance(path[end], int)
            first, second = (self.values, self.keys) if value_first else (self.keys, self.values)
            spot = first.get(here) or second.get(here)
            if spot is not None:
                return spot
        return Spot(1, 1)


class Stop(Exception):
    """Reading cannot go on; what was found so far is in ``document.flaws``."""


def read_document(text: str) -> Document:
    """Parse one YAML document; syntax errors and refused features end up in ``flaws``, never as exceptions."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.YAMLError as error:
        from backupchaos.model.syntax import explain

        builder.document.flaws.append(explain(error, text))
        builder.document.unusable.add(())
    except Stop:
        builder.document.unusable.add(())
    return builder.document


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    seen: dict[str, Spot] = field(default_factory=dict)
    skip: bool = False
    """The current entry is a repetition, or its key is unusable: read on, but keep nothing."""
    dropped: bool = False
    """The whole container lies within something that is not kept."""


class _Builder:
    def __init__(self) -> None:
        self.document = Document()
        self.stack: list[_Open] = []
        self.nodes = 0
        self.documents = 0
        self.complex_key = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                hint = "Put each scenario in a file of its own."
                self.flaw(event, "several-documents", "a second document begins here", hint)
                raise Stop
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.close()
        elif isinstance(event, yaml.NodeEvent):
            self.node(event)

    def node(self, event: yaml.NodeEvent) -> None:
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            self.flaw(
                event,
                "too-large",
                f"more than {NODE_LIMIT} values",
                "A scenario is one short file. Is it the right one?",
            )
            raise Stop
        refused = self.refused(event)
        if self.complex_key:
            self.complex_key += isinstance(event, yaml.CollectionStartEvent)
            return
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            self.begin_entry(top, event, refused)
            return
        self.value(top, event, refused)

    def value(self, top: _Open | None, event: yaml.NodeEvent, refused: bool) -> None:
        """The event is a value: the whole document's, a list's, or that of the key just read."""
        path, keep = self.place(top)
        if keep and refused:
            self.document.unusable.add(path)
        if isinstance(event, yaml.CollectionStartEvent):
            self.open(event, path, keep and not refused, top)
            return
        value = self.scalar(event) if isinstance(event, yaml.ScalarEvent) and not refused else None
        if value is None and not refused and path and keep:
            self.no_value(event, path)
        if keep:
            self.document.values[path] = _spot(event)
            if value is None and path:
                self.document.unusable.add(path)
        self.attach(top, value, keep)

    def refused(self, event: yaml.NodeEvent) -> bool:
        """Aliases, anchors and tags: each a flaw; True if there is no value to go on with."""
        if isinstance(event, yaml.AliasEvent):
            message = f"the alias '*{escape(shorten(str(event.anchor)))}' is not allowed in a scenario"
            self.flaw(event, "alias", message, "Write the value out again.")
            return True
        if event.anchor is not None:
            message = f"the anchor '&{escape(shorten(event.anchor))}' is not allowed in a scenario"
            self.flaw(event, "anchor", message, "Remove it, and write the value out wherever it is needed.")
        tag = getattr(event, "tag", None)
        if tag is not None:
            message = f"the tag '{escape(shorten(tag))}' is not allowed in a scenario"
            self.flaw(event, "tag", message, "Remove it; values get their type from where they stand.")
            return True
        return False

    def begin_entry(self, top: _Open, event: yaml.NodeEvent, refused: bool) -> None:
        """The event is a mapping's key."""
        if isinstance(event, yaml.ScalarEvent):
            key, plain = str(event.value), bool(event.implicit[0])
        else:
            top.key, top.skip = "", True
            if isinstance(event, yaml.CollectionStartEvent):
                self.complex_key = 1
                self.flaw(event, "bad-key", "a key must be one word", "Is there a '?' or '{' too many?")
            return
        top.key, top.skip = key, refused
        spot = _spot(event)
        if plain and key == "<<":
            hint = "Write the keys out."
            self.flaw(event, "merge-key", "the merge key '<<' is not allowed in a scenario", hint)
            top.skip = True
        elif key in top.seen:
            first = top.seen[key].line
            message = f"the key '{escape(shorten(key))}' was already given in line {first}"
            self.flaw(event, "duplicate-key", message, "Keep one of them.")
            top.skip = True
        if not top.skip:
            top.seen[key] = spot
            if not top.dropped:
                self.document.keys[(*top.path, key)] = spot

    def place(self, top: _Open | None) -> tuple[Path, bool]:
        """The path of the value that comes now, and whether it is kept."""
        if top is None:
            return (), True
        last = len(top.container) if isinstance(top.container, list) else top.key or ""
        return (*top.path, last), not (top.skip or top.dropped)

    def open(self, event: yaml.CollectionStartEvent, path: Path, keep: bool, top: _Open | None) -> None:
        if len(self.stack) >= DEPTH_LIMIT:
            from backupchaos.model.syntax import too_deep

            self.document.flaws.append(too_deep(_spot(event)))
            raise Stop
        container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if keep:
            self.document.values[path] = _spot(event)
        self.attach(top, container, keep)
        self.stack.append(_Open(container, path, dropped=not keep))

    def close(self) -> None:
        if self.complex_key > 1:
            self.complex_key -= 1
        elif self.complex_key == 1:
            self.complex_key = 0
        else:
            self.stack.pop()

    def attach(self, top: _Open | None, value: Any, keep: bool) -> None:
        if top is None:
            self.document.data = value
        elif isinstance(top.container, list):
            top.container.append(value)
        else:
            if keep:
                top.container[top.key or ""] = value
            top.key = None

    def no_value(self, event: yaml.NodeEvent, path: Path) -> None:
        """An empty value is a slip of the hand more often than a wish for the default."""
        if any(flaw.spot == _spot(event) for flaw in self.document.flaws):
            return
        spot = self.document.keys.get(path) or _spot(event)
        title = f"'{escape(shorten(path[-1]))}'" if isinstance(path[-1], str) else "this entry"
        hint = "Give one, or leave the key out."
        self.document.flaws.append(Flaw(spot, "missing-value", f"{title} has no value", hint))

    def scalar(self, event: yaml.ScalarEvent) -> Any:
        text = str(event.value)
        if not event.implicit[0] or event.style in {"'", '"', "|", ">"}:
            return text
        try:
            return resolve(text)
        except ValueError as error:
            self.flaw(event, "ambiguous-number", str(error), "Write it without leading zeros, or in quotes.")
            return None

    def flaw(self, event: yaml.Event, code: str, message: str, hint: str = "") -> None:
        self.document.flaws.append(Flaw(_spot(event), code, message, hint))


def _spot(event: yaml.Event) -> Spot:
    start: Any = event.start_mark
    end: Any = event.end_mark
    width = end.column - start.column if end.line == start.line else 1
    if isinstance(event, yaml.CollectionStartEvent):
        width = 1
    return Spot(start.line + 1, start.column + 1, max(1, width))
