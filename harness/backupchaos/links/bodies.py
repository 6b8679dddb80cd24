"""Request bodies of the embedded server: decoded, checked, or refused with a status and a text."""

from __future__ import annotations

from typing import Any

from backupchaos.links import gojson, toxics
from backupchaos.links.gojson import BadBody

PROXY = {"name": "string", "listen": "string", "upstream": "string", "enabled": "bool"}
TOXIC = {"name": "string", "type": "string", "stream": "string", "toxicity": "float", "attributes": "any"}


class ApiError(Exception):
    """An error with its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _bad(error: BadBody) -> ApiError:
    return ApiError(400, f"bad request body: {error}")


def fields(body: bytes, go_type: str, wanted: dict[str, str]) -> dict[str, Any]:
    """The wanted keys of a body that is one object."""
    try:
        return gojson.fields(gojson.parse(body), go_type, wanted)
    except BadBody as error:
        raise _bad(error) from None


def wanted(body: bytes) -> list[dict[str, Any]]:
    """The proxies of a populate body; all are looked at before any is made."""
    go_type = 'struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }'
    try:
        items = gojson.parse(body)
        if items is not None and not isinstance(items, list):
            raise BadBody(
                f"json: cannot unmarshal {gojson.describe(items)} into Go value of type []{go_type}"
            )
        wanted = [{"enabled": True} | gojson.fields(item, go_type, PROXY) for item in items or ()]
    except BadBody as error:
        raise _bad(error) from None
    for number, given in enumerate(wanted, 1):
        for name in ("name", "upstream"):
            if not given.get(name):
                raise ApiError(400, f"missing required field: {name} at proxy {number}")
    return wanted


def attributes(kind: str, value: Any) -> dict[str, int]:
    """A toxic's attributes that were given."""
    if value is None:
        return {}
    go_type = toxics.GO_TYPES[kind]
    if not isinstance(value, dict):
        what = gojson.describe(value)
        text = f"json: cannot unmarshal {what} into Go struct field .attributes of type toxics.{go_type}"
        raise _bad(BadBody(text))
    int_type = "int" if kind == "slicer" else "int64"
    wanted = dict.fromkeys(toxics.KINDS[kind], "int")
    try:
        return gojson.fields(value, go_type, wanted, prefix="attributes.", int_type=int_type)
    except BadBody as error:
        raise _bad(error) from None


def validate(kind: str, attributes: dict[str, int]) -> None:
    """Refuse values that make no toxic."""
    if why := toxics.problem(kind, attributes):
        raise _bad(BadBody(why))
