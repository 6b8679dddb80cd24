"""One client over every Toxiproxy server: ``toxiproxy-python``, with its faults repaired.

The package gives the model (proxy, toxic, exceptions). Its calls go through class-wide state
without time-outs, statuses, sessions or PATCH, so each of them is done here on the instance.
Attributes are checked before they are sent: some values crash the real server, on any link's traffic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests
import toxiproxy
import toxiproxy.toxic

from backupchaos.links import transport
from backupchaos.links.servererrors import ServerDead, ServerError, typed
from backupchaos.links.validation import check, check_name

TIMEOUT = 5.0

Note = Callable[[str, dict[str, Any]], None]


class Proxy(toxiproxy.Proxy):  # type: ignore[misc]
    """A proxy as the server last showed it; ``port`` is where it listens."""

    name: str
    upstream: str
    listen: str
    enabled: bool

    def __init__(self, client: ToxiproxyClient, data: Mapping[str, Any]) -> None:
        super().__init__(**{key: data[key] for key in ("name", "upstream", "enabled", "listen")})
        self._client = client
        self._toxics = [Toxic(client, self.name, item) for item in data.get("toxics", ())]

    @property
    def port(self) -> int:
        """The listening port."""
        return int(self.listen.rpartition(":")[2])

    def toxics(self) -> dict[str, Toxic]:
        """Name -> toxic, as of the last answer."""
        return {toxic.name: toxic for toxic in self._toxics}

    def enable(self) -> None:
        """Listen again on the same port."""
        self._client.update(self.name, enabled=True)
        self.enabled = True

    def disable(self) -> None:
        """Stop listening and cut the live connections; toxics stay."""
        self._client.update(self.name, enabled=False)
        self.enabled = False

    def add_toxic(self, **arguments: Any) -> Toxic:
        """As ``ToxiproxyClient.add_toxic``, with ``type`` as the package calls it."""
        return self._client.add_toxic(self.name, arguments.pop("type"), **arguments)

    def destroy(self) -> None:
        """Delete it; live connections are cut."""
        self._client.destroy(self.name)


class Toxic(toxiproxy.toxic.Toxic):  # type: ignore[misc]
    """A toxic that exists on a server. A context manager that removes it."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, int]

    def __init__(
        self, client: ToxiproxyClient, proxy: str, data: Mapping[str, Any], note: Note | None = None
    ) -> None:
        super().__init__(**data)
        self.proxy = proxy
        self._client = client
        self._note = note
        self._tell("toxic_add")

    def _tell(self, ev: str) -> None:
        if self._note is not None:
            keys = ("name", "type", "stream", "toxicity", "attributes")
            self._note(ev, {key: getattr(self, key) for key in keys})

    def update(self, *, toxicity: float | None = None, **attributes: int) -> None:
        """Change attributes and toxicity; live connections feel it at once."""
        merged = self.attributes | attributes
        check(self.type, self.stream, self.toxicity if toxicity is None else toxicity, merged)
        body: dict[str, Any] = {"attributes": attributes}
        if toxicity is not None:
            body["toxicity"] = toxicity
        data = self._client.call("PATCH", f"/proxies/{self.proxy}/toxics/{self.name}", body)
        self.attributes, self.toxicity = data["attributes"], data["toxicity"]
        self._tell("toxic_patch")

    def remove(self) -> None:
        """Delete it; what it held back goes on."""
        self._client.call("DELETE", f"/proxies/{self.proxy}/toxics/{self.name}")
        self._tell("toxic_del")

    def __enter__(self) -> Toxic:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class ToxiproxyClient:
    """A server's API. ``connect(port)`` makes the TCP connection, by default on this host's loopback.

    Raises ``UsageProblem`` before sending what is wrong, ``ServerError`` for what the server refuses,
    ``ServerDead`` when it does not answer within ``timeout`` seconds.
    """

    def __init__(
        self, port: int, connect: transport.Connect | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        self.port = port
        self._base = f"http://127.0.0.1:{port}"
        self._timeout = timeout
        self._session = transport.session(connect)
        self._dead = ""
        self._version = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request: the decoded answer, or a typed error with the server's words."""
        if self._dead:
            raise ServerDead(0, f"{method} {path} not sent, the server is dead: {self._dead}")
        try:
            answer = self._session.request(
                method, self._base + path, json=body, timeout=self._timeout, allow_redirects=False
            )
        except requests.RequestException as error:
            self._dead = f"{method} {path}: {error}"
            raise ServerDead(0, self._dead) from error
        if answer.status_code >= 300:
            raise self._error(answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise ServerError(answer.status_code, f"{method} {path}: not JSON: {answer.text[:200]}") from None

    @staticmethod
    def _error(answer: requests.Response) -> ServerError:
        try:
            text = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            text = answer.text.strip()[:200] or "no text"
        return typed(answer.status_code, text)

    def version(self) -> str:
        """The server's version. Raises ``ServerError`` unless it is at least 2.9 and below 3."""
        if not self._version:
            version = str(self.call("GET", "/version")["version"])
            numbers = re.match(r"v?(\d+)\.(\d+)", version)
            if not numbers or not (2, 9) <= (int(numbers[1]), int(numbers[2])) < (3, 0):
                raise ServerError(
                    0, f"version {version!r} is not supported: at least 2.9 and below 3 is needed"
                )
            self._version = version
        return self._version

    def proxies(self) -> dict[str, Proxy]:
        """Name -> proxy with its toxics."""
        return {name: Proxy(self, data) for name, data in self.call("GET", "/proxies").items()}

    def get_proxy(self, name: str) -> Proxy:
        """One proxy with its toxics; raises ``ProxyNotFound``."""
        check_name(name)
        return Proxy(self, self.call("GET", f"/proxies/{name}"))

    def create(
        self,
        name: str,
        upstream: str,
        *,
        port: int = 0,
        enabled: bool = True,
        toxics: Sequence[Mapping[str, Any]] = (),
    ) -> Proxy:
        """A proxy on 127.0.0.1. With toxics it first listens when all of them are in place."""
        check_name(name)
        body = {"name": name, "upstream": upstream, "listen": f"127.0.0.1:{port}"}
        proxy = Proxy(self, self.call("POST", "/proxies", body | {"enabled": enabled and not toxics}))
        if toxics:
            try:
                for toxic in toxics:
                    self.add_toxic(name, **toxic)
                if enabled:
                    proxy = Proxy(self, self.update(name, enabled=True))
            except BaseException:
                if not self._dead:
                    self.destroy(name)
                raise
        return proxy

    def update(self, name: str, **changes: Any) -> dict[str, Any]:
        """PATCH ``enabled``, ``upstream`` or ``listen``."""
        check_name(name)
        data: dict[str, Any] = self.call("PATCH", f"/proxies/{name}", changes)
        return data

    def populate(self, proxies: Sequence[Mapping[str, Any]]) -> list[Proxy]:
        """Create or replace several; what is the same already is left alone."""
        body = [{"listen": "127.0.0.1:0", **proxy} for proxy in proxies]
        for item in body:
            check_name(str(item["name"]))
        data = self.call("POST", "/populate", body)
        return [Proxy(self, item) for item in data["proxies"] or ()]

    def destroy(self, name: str) -> None:
        """Delete a proxy; live connections are cut."""
        check_name(name)
        self.call("DELETE", f"/proxies/{name}")

    def reset(self) -> None:
        """Enable every proxy, remove every toxic."""
        self.call("POST", "/reset")

    def add_toxic(
        self,
        proxy: str,
        kind: str,
        stream: str = "downstream",
        toxicity: float = 1.0,
        *,
        name: str = "",
        attributes: Mapping[str, int] | None = None,
        note: Note | None = None,
    ) -> Toxic:
        """Add a toxic; ``note`` is told of this and every later change."""
        check_name(proxy)
        name = name or f"{kind}_{stream}"
        check_name(name)
        attributes = attributes or {}
        check(kind, stream, toxicity, attributes)
        body = {"name": name, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        return Toxic(self, proxy, self.call("POST", f"/proxies/{proxy}/toxics", body), note)

    def close(self) -> None:
        """Close kept connections."""
        self._session.close()
