"""Faults of a server behind a link: the repository's, or another service of the scenario."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from backupchaos.model.faults.amounts import Felt, Share, at_least
from backupchaos.model.faults.base import FaultSpec, LinkPlace
from backupchaos.units import Duration

Later = Annotated[Duration, at_least(1, "1s", "2s")]
"""Retry-After counts in whole seconds."""


class _OnService(FaultSpec):
    layer = "service"
    needs_service = True


class OnRequests(_OnService):
    """What the repository's server does with single requests: it, or a gate in front of it, must be told to."""


class ServiceKill(_OnService):
    """The server dies; it is started again, with its data and keys, when the fault ends."""

    kind = "service.kill"
    place: LinkPlace = Field(alias="service.kill", description="Where")
    signal: Literal["KILL", "TERM"] = Field(default="KILL", description="Which signal")


class ServiceRestart(_OnService):
    """The server is stopped and started again at once, as for an upgrade."""

    kind = "service.restart"
    instant = True
    needs_progress = True
    place: LinkPlace = Field(alias="service.restart", description="Where")


class ServiceErrors(OnRequests):
    """A share of the requests fails with an error of the server: an HTTP status, or SSH_FX_FAILURE."""

    kind = "service.errors"
    place: Literal["repository"] = Field(alias="service.errors", description="Where")
    share: Share = Field(default=0.2, description="Which share of the requests")
    status: int = Field(
        default=500, ge=500, le=599, description="The HTTP status of the answer; SFTP has only one"
    )


class ServiceThrottle(OnRequests):
    """The server asks its clients to come back later; HTTP only, since SFTP has no words for it."""

    kind = "service.throttle"
    place: Literal["repository"] = Field(alias="service.throttle", description="Where")
    share: Share = Field(default=1.0, description="Which share of the requests")
    status: Literal[429, 503] = Field(default=503, description="The HTTP status of the answer")
    retry_after: Later = Field(
        default=1.0, description="When clients may come back (Retry-After), in whole seconds"
    )


class ServiceSlow(OnRequests):
    """Each answer of the server takes longer."""

    kind = "service.slow"
    place: Literal["repository"] = Field(alias="service.slow", description="Where")
    delay: Felt = Field(default=0.2, description="How much longer each answer takes")


class ServiceCredentialsExpire(OnRequests):
    """The server no longer accepts the credentials of the job; what is logged in is logged out."""

    kind = "service.credentials_expire"
    place: Literal["repository"] = Field(alias="service.credentials_expire", description="Where")


KINDS: tuple[type[FaultSpec], ...] = (
    ServiceKill,
    ServiceRestart,
    ServiceErrors,
    ServiceThrottle,
    ServiceSlow,
    ServiceCredentialsExpire,
)
