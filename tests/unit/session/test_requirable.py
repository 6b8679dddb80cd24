"""The words of ``--require``: all that a missing capability can bear, and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import backupchaos
import backupchaos_targets
from backupchaos.environments.base import Controller
from backupchaos.environments.local.environment import LocalEnvironment
from backupchaos.errors import UsageProblem
from backupchaos.faults.registry import mechanisms
from backupchaos.model.faults.processes import ProcessConcurrent
from backupchaos.session.requirable import check_capabilities, known_capabilities
from backupchaos.targets.base import BaseTarget, RepositoryType

RAISING = {"MissingCapability", "Unusable", "find_program", "need_program"}
"""What is called with the name of a capability first."""
COMPUTED = {
    "capability or name": ("openssh",),  # find_program's own, whose callers are looked at
    "missing[0]": (),  # needs of mechanisms, see below
    "self.spec.place": ("cache", "temp"),
    "str(self.place)": ("cache", "temp"),
    "self.spec.what": get_args(ProcessConcurrent.model_fields["what"].annotation),
    "tool": ("list", "check", "unlock", "prune"),
    "wanted if wanted not in {'any', 'remote'} else 'remote repository'": (
        *get_args(RepositoryType),
        "remote repository",
    ),
    "package": ("backupchaos", "backupchaos_reference"),
    "name": (),  # need_program's own, and what was required already
    "PROGRAM": ("toxiproxy-server",),
    "realserver.PROGRAM": ("toxiproxy-server",),
    "f'cgroup {controller}'": tuple(f"cgroup {one}" for one in get_args(Controller)),
    "answer.get('capability', 'volumes')": ("volumes",),
    "self.name": (),  # of a target file, see below
    "cause.capability": (),  # of another one
}
"""Every name that is not written out, as it stands in the code, with the words it can become."""


def names() -> Iterator[tuple[str, ast.expr]]:
    """(where, the first argument) of each call."""
    for package in (backupchaos, backupchaos_targets):
        for file in Path(next(iter(package.__path__))).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and node.args:
                    called = node.func
                    word = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                    if word == "find_program" and "services" not in file.parts:
                        continue  # namesakes, which say None
                    if word in RAISING:
                        capability = node.args[2:3] if word == "find_program" else []
                        yield f"{file.name}:{node.lineno}", (capability or node.args)[0]


def test_every_name_in_the_code_can_be_required() -> None:
    known = known_capabilities()
    found = list(names())
    assert len(found) > 70
    for where, name in found:
        if isinstance(name, ast.Constant):
            assert name.value in known, where
        else:
            text = ast.unparse(name)
            assert text in COMPUTED, f"{where}: which words can {text} be?"
            assert set(COMPUTED[text]) <= set(known), where


def test_what_mechanisms_need_and_environments_tell_can_be_required() -> None:
    known = set(known_capabilities())
    assert {need for made in mechanisms().values() for need in made.needs} <= known
    assert set(LocalEnvironment("plain").probe()) <= known
    assert set(LocalEnvironment().probe()) <= known


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("foo", r"^--x: there is no capability 'foo'. Known: UNIX sockets, .*, volumes, "),
        ("volume", r"'volume'. Did you mean 'volumes'\? Known: "),
        ("Volumes", r"Did you mean 'volumes'\?"),
        ("", r"no capability an empty text"),
        ("\x1b[2J", r"no capability '\\x1b\[2J'"),
    ],
)
def test_others_are_refused_with_a_list_of_them(word: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=said):
        check_capabilities(["volumes", word], "--x")


def test_a_target_brings_its_name_and_words_of_its_own() -> None:
    class Own(BaseTarget):
        name = "ownbackup"
        capabilities = ("tape robot",)

    words = ["all", "restic", "image", "ownbackup", "tape robot", "table"]
    check_capabilities(words, "--x", [Own(), "table"])  # type: ignore[list-item]
    for word in ("ownbackup", "tape robot", "table"):
        with pytest.raises(UsageProblem, match=f"no capability '{word}'"):
            check_capabilities([word], "--x")
