"""The JSON Schema of scenario files, generated from the models, for editors.

Draft 7, because that is what the YAML language server reads. ``python -m backupchaos.model.schema --write``
renews the published file; a test holds that it is the generated one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from backupchaos.model.faults import KINDS
from backupchaos.model.guide import keys_of
from backupchaos.model.scenario import Scenario

DRAFT = "http://json-schema.org/draft-07/schema#"
FILE = "scenario.schema.json"

ONLY_THE_MODEL_CAN_REFUSE = (
    "regular expressions that do not compile, can take forever, or hold an unknown placeholder",
    "ranges whose end lies before their beginning (10..1), and whole numbers written with a point (3.0)",
    "amounts that are too small to be felt or larger than anything, and an 'every' that is not longer than 'for'",
    "contradictions between keys: two faults alike, 'within' after the deadline, states that cannot follow "
    "one another, an envelope that the outcome contradicts, and so on (backupchaos.model.sense)",
    "a 'source: path' that is no tree of files (/proc), or the whole machine",
    "names of services that mean something else already, and places of faults that no service of the file has",
    "anchors, aliases, merge keys, tags, duplicate keys and numbers with leading zeros: they are gone, or mean "
    "something else, before a schema sees the values",
)
"""What an editor with the schema lets pass and the loader does not."""


def scenario_schema() -> dict[str, Any]:
    """The schema as JSON-ready values; the same text for the same models."""
    schema = Scenario.model_json_schema(by_alias=True, mode="validation")
    definitions: dict[str, Any] = schema.pop("$defs")
    for name, kind in ((model.__name__, kind) for kind, model in KINDS.items()):
        _fault(definitions[name], kind)
    _exactly_one_condition(definitions["Trigger"])
    for named in ("faults", "services"):
        schema["properties"][named]["additionalProperties"] = False
    plain = _draft7({**schema, "definitions": {**definitions, **_OFTEN}})
    return {
        "$schema": DRAFT,
        "$id": f"https://backupchaos.invalid/{FILE}",
        **plain,
        "title": "backupchaos scenario",
    }


def _fault(definition: dict[str, Any], kind: str) -> None:
    before = KINDS[kind].before_job
    keys = [key for key in keys_of(KINDS[kind]) if not (before and key in {"every", "times"})]
    definition["properties"] = {key: definition["properties"][key] for key in keys}
    if before:
        words = definition["properties"]["when"]["description"]
        definition["properties"]["when"] = {"enum": ["start", {"start": True}], "description": words}
    if "until" in keys:
        definition["not"] = {"required": ["for", "until"]}
    if needs := _coming_again(keys):
        definition["dependencies"] = needs


_RECURS = {
    "type": "object",
    "anyOf": [{"required": ["log"]}, {"required": ["state"]}],
    "description": "A log line or a state, which can come again",
}
_AGAIN = {"required": ["when"], "properties": {"when": _RECURS}}
_ENDS = [{"required": ["for"]}, {"required": ["until"], "properties": {"until": _RECURS}}]
_OFTEN = {
    "BlowComesAgain": {"anyOf": [{"required": ["every"]}, _AGAIN]},
    "StateComesAgain": {"anyOf": [{"required": ["every"]}, {**_AGAIN, "anyOf": _ENDS}]},
}
"""What ``times`` needs beside it: of a fault that happens at one instant, and of one that lasts."""


def _coming_again(keys: list[str]) -> dict[str, Any]:
    """What ``every`` and ``times`` need beside them, for those that may have them."""
    if "times" not in keys:
        return {}
    if "for" not in keys:
        return {"times": {"$ref": "#/definitions/BlowComesAgain"}}
    return {"every": ["for"], "times": {"$ref": "#/definitions/StateComesAgain"}}


def _exactly_one_condition(definition: dict[str, Any]) -> None:
    definition["minProperties"] = definition["maxProperties"] = 1


def _draft7(value: Any) -> Any:
    """Rename what draft 7 calls otherwise; drop nulls, which files may not hold, and Python's defaults and titles."""
    if isinstance(value, list):
        return [_draft7(item) for item in value]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for key, item in value.items():
        if key == "$ref":
            result[key] = item.replace("#/$defs/", "#/definitions/")
        elif key in {"properties", "definitions"}:
            result[key] = {name: _draft7(inner) for name, inner in item.items()}
        elif key in {"title", "discriminator", "default"}:
            continue
        else:
            result[key] = _draft7(item)
    return _without_null(result)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = schema.get("anyOf")
    if not options or {"type": "null"} not in options:
        # Draft 7 ignores what stands beside a reference, and the description with it.
        if "$ref" in schema and len(schema) > 1:
            return {"allOf": [{"$ref": schema.pop("$ref")}], **schema}
        return schema
    left = [option for option in options if option != {"type": "null"}]
    rest = {key: item for key, item in schema.items() if key != "anyOf"}
    if len(left) > 1:
        return {"anyOf": left, **rest}
    return _without_null({**left[0], **rest})


def rendered() -> str:
    """The text of the published file."""
    return json.dumps(scenario_schema(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the schema, or write it where it is published."""
    parser = argparse.ArgumentParser(prog="python -m backupchaos.model.schema", description=__doc__)
    parser.add_argument("--write", action="store_true", help="Renew the published file")
    options = parser.parse_args(arguments)
    if not options.write:
        sys.stdout.write(rendered())
        return 0
    # The engine knows nothing of the library of scenarios, except here, where it hands it a file.
    from importlib.resources import files

    target = Path(str(files("backupchaos_scenarios").joinpath(FILE)))
    target.write_text(rendered(), "utf-8")
    sys.stdout.write(f"{target.name} written\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
