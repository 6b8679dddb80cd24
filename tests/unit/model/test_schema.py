"""The published schema is the generated one, and says the same as the model."""

from __future__ import annotations

import copy
import random
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import backupchaos_scenarios
from backupchaos.model import schema
from backupchaos.model.faults import KINDS
from backupchaos.model.loader import ScenarioErrors, load_scenario_text
from backupchaos.model.positions import read_document
from backupchaos.model.scenario import Scenario

HEAD = {"scenario": "x", "title": "t"}


@cache
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema.scenario_schema())


def built_in(name: str) -> dict[str, Any]:
    data = read_document(backupchaos_scenarios.path(name).read_text("utf-8")).data
    assert isinstance(data, dict)
    return data


def model_takes(data: Any) -> bool:
    """The model without the sense of the whole, which no schema can have."""
    try:
        Scenario.model_validate(data, context={"from_file": True}, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def test_published_is_generated() -> None:
    hint = "run: python -m backupchaos.model.schema --write"
    assert backupchaos_scenarios.schema_path().read_text("utf-8") == schema.rendered(), hint


def test_it_is_a_draft_7_schema_without_later_words() -> None:
    jsonschema.Draft7Validator.check_schema(schema.scenario_schema())
    assert not {"$defs", "prefixItems", "discriminator", '"null"'} & set(schema.rendered().split('"'))
    assert "null" not in schema.rendered()


def test_every_property_has_words_for_the_editor() -> None:
    def silent(node: Any, where: str) -> list[str]:
        found = []
        if isinstance(node, dict):
            for name, one in node.get("properties", {}).items():
                if "description" not in one:
                    found.append(f"{where}.{name}")
            for key, value in node.items():
                found += silent(value, f"{where}.{key}")
        return found

    assert silent(schema.scenario_schema(), "") == []


@pytest.mark.parametrize("name", backupchaos_scenarios.names())
def test_built_ins_are_valid_in_both(name: str) -> None:
    validator().validate(built_in(name))
    assert model_takes(built_in(name))


def test_the_schema_lets_pass_all_that_a_stored_scenario_holds() -> None:
    for scenario in backupchaos_scenarios.all():
        validator().validate(scenario.to_yaml_dict())


INVALID: list[dict[str, Any]] = [
    {},
    {"scenario": "x"},
    {**HEAD, "scenario": "X y"},
    {**HEAD, "title": ""},
    {**HEAD, "nope": 1},
    {**HEAD, "envelope": "maybe"},
    {**HEAD, "envelope": None},
    {**HEAD, "tags": "quick"},
    {**HEAD, "tags": ["A"]},
    {**HEAD, "source": {"files": 0}},
    {**HEAD, "source": {"files": "3"}},
    {**HEAD, "source": {"size": 16}},
    {**HEAD, "source": {"size": "16"}},
    {**HEAD, "source": {"change": "101%"}},
    {**HEAD, "source": {"path": "docs"}},
    {**HEAD, "services": "redis"},
    {**HEAD, "services": {"catalog": "oracle"}},
    {**HEAD, "services": {"Catalog": "redis"}},
    {**HEAD, "faults": {"a": {"network.down": "Cat-Log"}}},
    {**HEAD, "deadline": 30},
    {**HEAD, "deadline": "30"},
    {**HEAD, "recover": {"unlock": "yes"}},
    {**HEAD, "waive": {"nope": "why"}},
    {**HEAD, "waive": {"clean": " "}},
    {**HEAD, "faults": []},
    {**HEAD, "faults": {"A": {"disk.full": "cache"}}},
    {**HEAD, "faults": {"a": {}}},
    {**HEAD, "faults": {"a": {"nope": "cache"}}},
    {**HEAD, "faults": {"a": {"disk.full": "nowhere"}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "network.down": "repository"}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "for": "5s", "until": {"after": "5s"}}}},
    {**HEAD, "faults": {"a": {"process.kill": "target", "for": "5s"}}},
    {**HEAD, "faults": {"a": {"process.kill": "target", "until": "start"}}},
    {**HEAD, "faults": {"a": {"process.kill": "target", "times": 2}}},
    {**HEAD, "faults": {"a": {"process.kill": "target", "when": "exit", "times": 2}}},
    {**HEAD, "faults": {"a": {"process.kill": "target", "when": {"at": "5%"}, "times": 2}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "for": "1s", "times": 2}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "every": "5s"}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "when": {"log": "x"}, "times": 2}}},
    {
        **HEAD,
        "faults": {"a": {"disk.full": "cache", "when": {"log": "x"}, "until": {"after": "5s"}, "times": 2}},
    },
    {**HEAD, "faults": {"a": {"network.slow": "repository"}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "when": "end"}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "when": {}}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "when": {"at": "5%", "after": "5s"}}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "when": {"attempt": 1}}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "when": {"start": False}}}},
    {**HEAD, "faults": {"a": {"disk.full": "cache", "place": "cache"}}},
    {**HEAD, "faults": {"a": {"disk.io_error": "cache", "path": "/etc/passwd"}}},
    {**HEAD, "faults": {"a": {"disk.io_error": "cache", "path": "a/../../b"}}},
    {**HEAD, "expect": {"outcome": "good"}},
    {**HEAD, "expect": {"outcome": []}},
    {**HEAD, "expect": {"states": "RUNNING"}},
    {**HEAD, "expect": {"retries": -1}},
    {**HEAD, "expect": {"retries": "1-10"}},
    {**HEAD, "expect": {"log": [{"level": "error"}]}},
    {**HEAD, "expect": {"log": [{"matches": ""}]}},
    {**HEAD, "expect": {"log": {"matches": "a"}}},
]


@pytest.mark.parametrize("data", INVALID, ids=str)
def test_invalid_in_both(data: dict[str, Any]) -> None:
    assert not model_takes(data)
    assert not validator().is_valid(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"process.kill": "target", "when": {"log": "x"}, "times": 2},
        {"process.kill": "target", "when": {"after": "1s"}, "every": "5s", "times": 2},
        {"disk.full": "cache", "when": {"state": "RETRYING"}, "for": "1s", "times": 2},
        {"disk.full": "cache", "when": {"log": "x"}, "until": {"log": "y"}, "times": 2},
        {"disk.full": "cache", "for": "1s", "every": "5s"},
    ],
    ids=str,
)
def test_what_may_come_again_in_both(fields: dict[str, Any]) -> None:
    data = {**HEAD, "faults": {"a": fields}}
    assert model_takes(data)
    validator().validate(data)


ONLY_THE_MODEL = [
    "expect: {log: [{matches: 'a('}]}",
    "expect: {log: [{matches: '(a+)+b'}]}",
    "expect: {log: [{matches: '{host}'}]}",
    "expect: {retries: 10..1}",
    "source: {files: 3.0}",
    'source: {path: "/a\\tb"}',
    "expect: {within: 5m}",
    "tags: [a, a]",
    "source: {files: 010}",
    "source: &a {files: 3}",
    "services: {source: redis}",
    "faults: {a: {network.down: catalog}}",
    "faults: {a: {service.slow: repository, delay: 1us}}",
    "faults: {a: {disk.quota: target, size: 0B}}",
    "volumes: {repository: 1B}",
    "faults: {a: {process.pause: target, when: {at: 10%}, for: 5s, every: 1s, times: 3}}",
]


@pytest.mark.parametrize("line", ONLY_THE_MODEL)
def test_what_only_the_model_refuses(line: str) -> None:
    text = f"scenario: x\ntitle: t\n{line}\n"
    with pytest.raises(ScenarioErrors):
        load_scenario_text(text, "x")
    assert validator().is_valid(yaml.safe_load(text))


WORDS = [
    None, True, 0, 1, -1, 3, 10**12, "", " ", "x", "X", "5s", "0s", "16MiB", "1.5KiB", "50%", "100%", "101%", "1..", "1..3",
    "512KiB/s", "start", "repository", "source", "target", "cache", "success", "RUNNING", "error", "/etc",
    [], {}, ["x"], ["success"], ["RUNNING"], {"at": "50%"}, {"after": "1s", "at": "5%"}, {"disk.full": "cache"},
    {"a": {"network.down": "repository"}}, {"catalog": "redis"}, "any", [{"matches": "a"}], {"clean": "why"}, {"x": "5s"}, "5s ", "1m 30s", "7 B",
]  # fmt: skip
KEYS = [
    "for",
    "until",
    "when",
    "x",
    "place",
    "files",
    "pick",
    "size",
    "log",
    "retries",
    "scenario",
    "services",
    "title",
    *KINDS,
]


def mutate(data: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One place of the file is replaced, removed, added or renamed."""
    data = copy.deepcopy(data)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            walk(value)

    walk(data)
    node, key = rng.choice(places)
    action = rng.randrange(4)
    if action == 0:
        node[key] = copy.deepcopy(rng.choice(WORDS))
    elif action == 1:
        del node[key]
    elif isinstance(node, dict):
        value = copy.deepcopy(rng.choice(WORDS)) if action == 2 else node.pop(key)
        node[rng.choice(KEYS)] = value
    else:
        node.append(copy.deepcopy(rng.choice(WORDS)))
    return data


def without_null(node: Any) -> bool:
    """The loader refuses empty values before the model sees them."""
    if isinstance(node, dict):
        return all(map(without_null, node.values()))
    return all(map(without_null, node)) if isinstance(node, list) else node is not None


def beyond_a_schema(data: dict[str, Any]) -> bool:
    """A fault that comes again after a time, or one of no time: no schema compares two of them."""
    faults = data.get("faults")
    bodies = [one for one in faults.values() if isinstance(one, dict)] if isinstance(faults, dict) else []
    return any("every" in one or "0s" in one.values() for one in bodies)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(backupchaos_scenarios.names()), st.integers(0, 2**32), st.integers(1, 3))
def test_mutated_built_ins_fare_alike(name: str, seed: int, times: int) -> None:
    rng, data = random.Random(seed), built_in(name)
    for _ in range(times):
        data = mutate(data, rng)
        if not data:
            return
    if beyond_a_schema(data):
        return
    if without_null(data):
        assert validator().is_valid(data) == model_takes(data), data
    else:
        assert not validator().is_valid(data), data


def test_printing_and_writing(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([]) == 0
    assert capsys.readouterr().out == schema.rendered()
