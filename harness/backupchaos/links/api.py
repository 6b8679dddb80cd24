"""Toxiproxy's HTTP API over the links of this process: every route, every error text.

Each call is a plain function without waiting, so none can hang. Kept on purpose different from
the original: bad attribute values are refused, PATCH is all or nothing, ``listen`` without a host
means 127.0.0.1, and a disabled proxy keeps its port.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from backupchaos.links import addresses, bodies, chain, toxics
from backupchaos.links.bodies import ApiError
from backupchaos.links.registry import Registry
from backupchaos.links.tap import Tap
from backupchaos.links.toxics import Toxic

VERSION = "2.12.0+embedded.1"

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """An HTTP answer. ``routed`` answers carry a request id."""

    status: int
    body: bytes = b""
    kind: str = _JSON
    routed: bool = True


def dump(value: Any) -> bytes:
    """Compact JSON, as Go writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Api:
    """Routes and handlers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        proxy, toxic = r"/proxies/([^/]+)", r"/toxics/([^/]+)"
        self._routes: list[tuple[re.Pattern[str], dict[str, Callable[..., Answer]]]] = [
            (re.compile(pattern), methods)
            for pattern, methods in (
                ("/version", {"GET": self._version}),
                ("/reset", {"POST": self._reset}),
                ("/proxies", {"GET": self._index, "POST": self._create}),
                ("/populate", {"POST": self._populate}),
                (
                    proxy,
                    {"GET": self._show, "POST": self._update, "PATCH": self._update, "DELETE": self._delete},
                ),
                (proxy + "/toxics", {"GET": self._toxics, "POST": self._add_toxic}),
                (
                    proxy + toxic,
                    {
                        "GET": self._show_toxic,
                        "POST": self._patch_toxic,
                        "PATCH": self._patch_toxic,
                        "DELETE": self._delete_toxic,
                    },
                ),
            )
        ]

    def handle(self, method: str, target: str, agent: str, body: bytes) -> Answer:
        """Answer one request."""
        path = target.partition("?")[0]
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            handler = methods.get(method)
            if handler is None:
                return Answer(405, kind="", routed=False)
            if agent.startswith("Mozilla/"):
                return Answer(403, b"User agent not allowed\n", _TEXT)
            try:
                return handler(body, *map(unquote, match.groups()))
            except ApiError as error:
                return Answer(error.status, _error(error) + b"\n", _TEXT)
        return Answer(404, b"404 page not found\n", _TEXT, routed=False)

    def _link(self, name: str) -> Tap:
        link = self._registry.links.get(name)
        if link is None:
            raise ApiError(404, "proxy not found")
        return link

    # -- server -----------------------------------------------------------------------------------

    def _version(self, _body: bytes) -> Answer:
        return Answer(200, f'{{"version": "{VERSION}"}}\n'.encode(), "application/json;charset=utf-8")

    def _reset(self, _body: bytes) -> Answer:
        for link in self._registry.links.values():
            if not link.enabled:
                _enable(link)
            for toxic in [toxic for stream in link.toxics.values() for toxic in stream]:
                chain.remove(link, toxic)
        return Answer(204, kind="")

    # -- proxies ----------------------------------------------------------------------------------

    def _index(self, _body: bytes) -> Answer:
        links = self._registry.links
        return Answer(200, dump({name: links[name].describe() for name in sorted(links)}))

    def _create(self, body: bytes) -> Answer:
        given = bodies.fields(body, "toxiproxy.Proxy", bodies.PROXY)
        for name in ("name", "upstream"):
            if not given.get(name):
                raise ApiError(400, f"missing required field: {name}")
        if given["name"] in self._registry.links:
            raise ApiError(409, "proxy already exists")
        return Answer(201, dump(self._new(given).describe()))

    def _new(self, given: dict[str, Any]) -> Tap:
        self._check(given.get("listen", ""), given["upstream"])
        link = Tap(self._registry, given["name"], given.get("listen", ""), given["upstream"])
        if given.get("enabled", True):
            _enable(link)
        self._registry.add(link)
        return link

    def _check(self, *places: str) -> None:
        for place in places:
            if place.startswith(addresses.UNIX) and not self._registry.unix:
                raise ApiError(400, f"{place}: UNIX sockets are for those only who start linkd with --unix")

    def _show(self, _body: bytes, name: str) -> Answer:
        return Answer(200, dump(self._link(name).describe()))

    def _update(self, body: bytes, name: str) -> Answer:
        link = self._link(name)
        given = bodies.fields(body, "toxiproxy.Proxy", bodies.PROXY)
        listen, upstream = given.get("listen", link.listen), given.get("upstream", link.upstream)
        enabled = given.get("enabled", link.enabled)
        self._check(listen, upstream)
        if _normal(listen) != link.listen or upstream != link.upstream:
            link.move(listen, upstream)
        if enabled and not link.enabled:
            _enable(link)
        elif link.enabled and not enabled:
            link.go_down("refused")
        return Answer(200, dump(link.describe()))

    def _delete(self, _body: bytes, name: str) -> Answer:
        self._registry.remove(self._link(name))
        return Answer(204, kind="")

    def _populate(self, body: bytes) -> Answer:
        made: list[Tap] = []
        try:
            for given in bodies.wanted(body):
                made.append(self._put(given))
        except ApiError as error:
            data = {"error": str(error), "status": error.status, "proxies": _all(made)}
            return Answer(error.status, dump(data))
        return Answer(201, dump({"proxies": _all(made)}))

    def _put(self, given: dict[str, Any]) -> Tap:
        """Create, leave alone what is the same, replace what differs."""
        link = self._registry.links.get(given["name"])
        if link is None:
            return self._new(given)
        listen = given.get("listen", "")
        if _normal(listen) == link.listen and given["upstream"] == link.upstream:
            return link
        self._check(listen, given["upstream"])
        before = link.listen, link.upstream
        link.move(listen, given["upstream"])
        try:
            if given["enabled"]:
                _enable(link)
        except ApiError:
            link.listen, link.upstream = before
            raise
        for toxic in [toxic for stream in link.toxics.values() for toxic in stream]:
            chain.remove(link, toxic)
        return link

    # -- toxics -----------------------------------------------------------------------------------

    def _toxics(self, _body: bytes, name: str) -> Answer:
        return Answer(200, dump(self._link(name).describe()["toxics"]))

    def _toxic(self, link: Tap, name: str) -> Toxic:
        toxic = chain.find(link, name)
        if toxic is None:
            raise ApiError(404, "toxic not found")
        return toxic

    def _add_toxic(self, body: bytes, name: str) -> Answer:
        link = self._link(name)
        given = bodies.fields(body, "toxics.ToxicWrapper", bodies.TOXIC)
        stream = given.get("stream", "downstream")
        if stream.lower() not in link.toxics:
            raise ApiError(400, "stream was invalid, can be either upstream or downstream")
        kind = given.get("type", "")
        toxic_name = given.get("name") or f"{kind}_{stream}"
        if kind not in toxics.KINDS:
            raise ApiError(400, "invalid toxic type")
        if chain.find(link, toxic_name) is not None:
            raise ApiError(409, "toxic already exists")
        attributes = dict.fromkeys(toxics.KINDS[kind], 0) | bodies.attributes(kind, given.get("attributes"))
        bodies.validate(kind, attributes)
        toxic = Toxic(toxic_name, kind, stream, stream.lower(), given.get("toxicity", 1.0), attributes)
        chain.add(link, toxic)
        return Answer(200, dump(toxic.describe()))

    def _show_toxic(self, _body: bytes, name: str, toxic: str) -> Answer:
        return Answer(200, dump(self._toxic(self._link(name), toxic).describe()))

    def _patch_toxic(self, body: bytes, name: str, toxic_name: str) -> Answer:
        link = self._link(name)
        toxic = self._toxic(link, toxic_name)
        given = bodies.fields(body, "struct", {"attributes": "any", "toxicity": "float"})
        attributes = bodies.attributes(toxic.kind, given.get("attributes"))
        bodies.validate(toxic.kind, toxic.attributes | attributes)
        chain.patch(link, toxic, attributes, given.get("toxicity", toxic.toxicity))
        return Answer(200, dump(toxic.describe()))

    def _delete_toxic(self, _body: bytes, name: str, toxic: str) -> Answer:
        link = self._link(name)
        chain.remove(link, self._toxic(link, toxic))
        return Answer(204, kind="")


def _error(error: ApiError) -> bytes:
    return dump({"error": str(error), "status": error.status})


def _all(links: list[Tap]) -> list[dict[str, Any]] | None:
    return [link.describe() for link in links] or None


def _normal(listen: str) -> str:
    """The address as it would be shown once started."""
    try:
        return str(addresses.to_listen(listen))
    except ValueError as error:
        raise ApiError(500, str(error)) from None


def _enable(link: Tap) -> None:
    try:
        if link.mode == "refused":
            link.come_up()
        else:
            link.start()
    except ValueError as error:
        text = str(error)
        raise ApiError(500, text if text.startswith("listen ") else f"listen tcp: {text}") from None
