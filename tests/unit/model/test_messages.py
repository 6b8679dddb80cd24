"""Every message that a scenario file can cause, word for word, in ``messages.txt``.

A case is ``=== name``, the file, ``--- says``, the message.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from backupchaos.model import messages
from backupchaos.model.loader import ScenarioErrors, load_scenario_text

CASES_FILE = Path(__file__).with_name("messages.txt")
MODEL = Path(messages.__file__).parent
CASE = re.compile(r"^=== ([a-z0-9-]+)\n(.*?)^--- says\n(.*?)\n(?=\n===|\Z)", re.S | re.M)
CASES = {name: (text, says) for name, text, says in CASE.findall(CASES_FILE.read_text("utf-8"))}


def said(text: str) -> ScenarioErrors:
    with pytest.raises(ScenarioErrors) as caught:
        load_scenario_text(text, "x.chaos.yaml")
    return caught.value


def test_all_cases_were_read() -> None:
    assert len(CASES) == CASES_FILE.read_text("utf-8").count("\n--- says\n") > 80


@pytest.mark.parametrize("name", CASES)
def test_message(name: str) -> None:
    text, says = CASES[name]
    assert str(said(text)) == says


LIBRARY_WORDS = re.compile(
    r"Value error|Input should|Field required|extra_forbidden|tuple|instance of|valid dictionary|NoneType|Traceback"
    r"|<class|\bNone\b|\bdict\b|pydantic|\bstr\b|discriminator"
)


@pytest.mark.parametrize("name", CASES)
def test_no_word_of_the_libraries(name: str) -> None:
    assert not LIBRARY_WORDS.search(CASES[name][1])


@pytest.mark.parametrize("name", CASES)
def test_every_problem_is_located_in_its_line(name: str) -> None:
    text, _ = CASES[name]
    lines = text.split("\n")
    for problem in said(text).problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


def _codes_in_source() -> set[str]:
    """Every code literal handed to Draft, Flaw, Mistake, clash or flaw anywhere in the model."""
    position = {"Draft": 1, "Flaw": 1, "clash": 1, "flaw": 1, "_refused": 1}
    found = set()
    for file in [*MODEL.rglob("*.py"), MODEL.parent / "units.py"]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            arguments = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name in position and len(node.args) > position[name]:
                arguments.append(node.args[position[name]])
            for argument in arguments:
                found |= {
                    part.value
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return found


def test_every_code_has_a_case() -> None:
    shown = {problem.code for text, _ in CASES.values() for problem in said(text).problems}
    # 'too-large' of a file with too many values is tested in test_positions; 'bad-value' stands for nothing
    # that can happen today and keeps a new library's error from becoming a traceback. 'not-here' is found out by a run
    # (unit/session/test_misplaced).
    assert _codes_in_source() - shown == {"bad-value", "not-here"}


def test_every_kind_of_library_error_has_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    original = messages.draft

    def recorded(error: messages.Error) -> messages.Draft:
        used.add(error["type"])
        return original(error)

    monkeypatch.setattr(messages, "draft", recorded)
    for text, _ in CASES.values():
        said(text)
    assert used == set(messages._WRITERS)


def test_an_unforeseen_library_error_has_words_too() -> None:
    error = {"type": "new_in_next_release", "loc": ("source", "size"), "msg": "Input should be x", "input": 3}
    draft = messages.draft(error)
    assert draft.path == ("source", "size")
    assert "Input" not in draft.message
    assert draft.hint
