"""Request bodies as Go's decoder reads them, with its words for what is wrong.

Keys match in any case, unknown keys and trailing text are ignored, ``null`` changes nothing, and
numbers with a fraction are no integers. Clients of Toxiproxy have come to rely on all of this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

_INT_LIMIT = 2**63


class BadBody(ValueError):
    """The body cannot be used; the text is Go's."""


class _Fraction(float):
    """A number that was not written as an integer, with its spelling."""

    text = ""


def _fraction(text: str) -> _Fraction:
    number = _Fraction(text)
    number.text = text
    return number


def _constant(text: str) -> NoReturn:
    raise BadBody(f"invalid character '{text.lstrip('-')[0]}' looking for beginning of value")


_decoder = json.JSONDecoder(parse_float=_fraction, parse_constant=_constant)

_COMPLAINTS = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name": "looking for beginning of object key string",
    "Illegal trailing comma": "looking for beginning of value",
    "Expecting ':'": "after object key",
    "Expecting ','": "after object key:value pair",
    "Invalid control": "in string literal",
    "Invalid \\": "in string escape code",
}


def parse(body: bytes) -> Any:
    """The first JSON value of a body."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise BadBody("EOF")
    try:
        return _decoder.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        rest = text[error.pos :].lstrip()
        if not rest or error.msg.startswith("Unterminated") or _is_start_of_word(rest):
            raise BadBody("unexpected EOF") from None
        complaint = next((words for key, words in _COMPLAINTS.items() if error.msg.startswith(key)), "")
        raise BadBody(f"invalid character '{rest[0]}' {complaint}".rstrip()) from None
    except RecursionError:
        raise BadBody("exceeded max depth") from None
    except BadBody:
        raise
    except ValueError:  # an integer of thousands of digits
        raise BadBody("invalid number") from None


def _is_start_of_word(rest: str) -> bool:
    return any(word.startswith(rest) for word in ("true", "false", "null"))


def describe(value: object) -> str:
    """Go's word for the type of a JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"


_GO = {"string": "string", "bool": "bool", "int": "int64", "float": "float32", "object": "object"}


def fields(
    value: Any, go_type: str, wanted: Mapping[str, str], *, prefix: str = "", int_type: str = "int64"
) -> dict[str, Any]:
    """The wanted keys of an object (``wanted``: name -> string, bool, int, float, any); nulls left out."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadBody(f"json: cannot unmarshal {describe(value)} into Go value of type {go_type}")
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = key.lower()
        kind = wanted.get(name)
        if kind is None or item is None:
            continue
        if not _fits(item, kind):
            what = describe(item)
            if what == "number" and kind == "int":
                what += f" {item.text if isinstance(item, _Fraction) else item}"
            struct = go_type.rpartition(".")[2]
            into = int_type if kind == "int" else _GO[kind]
            raise BadBody(
                f"json: cannot unmarshal {what} into Go struct field {struct}.{prefix}{name} of type {into}"
            )
        found[name] = float(item) if kind == "float" else item
    return found


def _fits(item: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(item, str)
        case "bool":
            return isinstance(item, bool)
        case "int":
            return type(item) is int and -_INT_LIMIT <= item < _INT_LIMIT
        case "float":
            return type(item) in (int, _Fraction) and abs(item) < 3.4e38
    return True
