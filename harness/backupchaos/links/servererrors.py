"""What a Toxiproxy server refuses or fails at, as exceptions; they are the package's own, too."""

from __future__ import annotations

from toxiproxy import exceptions

from backupchaos.errors import HarnessBroken


class ServerError(HarnessBroken):
    """The server refused or failed; ``status`` is 0 when it did not answer at all."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"toxiproxy: {text}" + (f" (status {status})" if status else ""))
        self.status = status
        self.text = text


class BadRequest(ServerError, exceptions.InvalidToxic):  # type: ignore[misc]
    """400."""


class ProxyNotFound(ServerError, exceptions.NotFound):  # type: ignore[misc]
    """404 for a proxy."""


class ToxicNotFound(ServerError, exceptions.NotFound):  # type: ignore[misc]
    """404 for a toxic."""


class ProxyExists(ServerError, exceptions.ProxyExists):  # type: ignore[misc]
    """409 for a proxy."""


class ToxicExists(ServerError):
    """409 for a toxic."""


class ServerDead(ServerError):
    """No answer in time, or no connection: the server is not asked again."""


_KINDS: dict[tuple[int, str], type[ServerError]] = {
    (404, "proxy not found"): ProxyNotFound,
    (404, "toxic not found"): ToxicNotFound,
    (409, "proxy already exists"): ProxyExists,
    (409, "toxic already exists"): ToxicExists,
}


def typed(status: int, text: str) -> ServerError:
    """The error for a status and the server's words."""
    kind = _KINDS.get((status, text), BadRequest if status == 400 else ServerError)
    return kind(status, text)
