"""The tables of the scenario reference, generated from the models.

``python -m backupchaos.model.reference docs/scenarios.md`` renews the parts of the page that stand between
``<!-- table: NAME -->`` and ``<!-- end -->``; a test holds that they are the generated ones.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backupchaos.model.allow import Allow
from backupchaos.model.base import Model
from backupchaos.model.expectations import LogExpectation
from backupchaos.model.faults import KINDS
from backupchaos.model.guide import SHARED, Section, example, sections
from backupchaos.model.positions import read_document
from backupchaos.model.scenario import Scenario
from backupchaos.model.schema import scenario_schema
from backupchaos.model.triggers import CallPoint, Trigger

_BLOCK = re.compile(r"(<!-- table: ([a-z. ]+) -->\n).*?(<!-- end -->)", re.S)
_LEAST: dict[type[Model], dict[str, str]] = {
    Scenario: {"scenario": "x", "title": "x"},
    LogExpectation: {"matches": "x"},
}
"""What must be given before the defaults of the rest can be seen."""


def renewed(page: str) -> str:
    """The page with its generated tables as the models have them now; raises KeyError for an unknown table."""
    made = tables()
    return _BLOCK.sub(lambda block: block[1] + made[block[2]] + block[3], page)


def tables() -> dict[str, str]:
    """Each table by its name: one for every section, ``faults`` for all kinds, ``timing`` for their shared keys."""
    schema = scenario_schema()
    definitions = {"Scenario": schema, **schema["definitions"]}
    found: dict[str, str] = {}
    for name, section in sections():
        if name not in KINDS:
            rows = [_row(key, definitions[section.model.__name__], section) for key in section.keys]
            found[name] = _table(("key", "value", "if left out", "meaning"), rows)
    found["faults"] = _faults(definitions)
    any_fault = Section("a fault", KINDS["network.down"])
    rows = [_row(key, definitions["NetworkDown"], any_fault) for key in SHARED]
    found["timing"] = _table(("key", "value", "if left out", "meaning"), rows)
    return found


def _faults(definitions: dict[str, Any]) -> str:
    rows = []
    for kind, model in KINDS.items():
        section, definition = Section(kind, model), definitions[model.__name__]
        own = [key for key in section.keys if key not in (*SHARED, kind)]
        more = []
        for key in own:
            _, value, default, meaning = _row(key, definition, section)
            more.append(f"`{key}`: {meaning} ({value}; {default or 'must be given'})")
        place = definition["properties"][kind]
        places = "`repository` or a service" if "examples" in place else _value(place)
        what = (model.__doc__ or "").strip().split("\n")[0]
        once = " Happens once; takes no `for` or `until`." if model.instant else ""
        once = " Holds for the whole job." if model.whole_job else once
        rows.append((f"`{kind}`", places, what + once, "<br>".join(more), f"`{example(kind)}`"))
    return _table(("kind", "place", "what happens", "parameters", "example"), rows)


def _row(key: str, definition: dict[str, Any], section: Section) -> tuple[str, str, str, str]:
    one = definition["properties"][key]
    field = next(f for name, f in section.model.model_fields.items() if (f.alias or name) == key)
    default = ""
    if not field.is_required():
        shown = _defaults(section).get(key)
        default = f"`{shown}`" if shown not in (None, {}, []) and not isinstance(shown, dict | list) else "-"
    return f"`{key}`", _value(one), default or "**required**", one["description"]


def _defaults(section: Section) -> dict[str, Any]:
    """Default values as they are written in YAML."""
    if section.model in {Trigger, CallPoint, Allow}:
        return {}
    kind = getattr(section.model, "kind", None)
    least = read_document(example(kind)).data if kind else _LEAST.get(section.model, {})
    model = section.model.model_validate(least, context={"from_file": True}, by_alias=True, by_name=False)
    return model.model_dump(mode="json", by_alias=True)


def _value(one: dict[str, Any]) -> str:
    """What may be written, in a few words."""
    if "enum" in one:
        return " ".join(f"`{word}`" for word in one["enum"])
    if "const" in one:
        return f"`{json.dumps(one['const']).strip(chr(34))}`"
    if "examples" in one:
        return "such as " + ", ".join(f"`{word}`" for word in one["examples"])
    if "anyOf" in one:
        return " or ".join(dict.fromkeys(_value(option) for option in one["anyOf"]))
    kind = one.get("type")
    if kind == "array":
        return f"list of {_value(one['items'])}"
    if kind == "string":
        return "text"
    names = {"integer": "whole number", "boolean": "`true` `false`"}
    return names.get(str(kind), "mapping, see below")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main(arguments: list[str]) -> int:
    """Renew the page given as the only argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m backupchaos.model.reference docs/scenarios.md\n")
        return 4
    page = Path(arguments[0])
    page.write_text(renewed(page.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
