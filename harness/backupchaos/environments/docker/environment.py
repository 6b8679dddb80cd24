"""The factory of container sandboxes, and what it can do here."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupchaos.environments.base import Place
from backupchaos.environments.docker import engine, images
from backupchaos.environments.docker.member import CODE, Member, Plan, start
from backupchaos.environments.docker.names import (
    AGENT_IMAGE,
    ISOLATED,
    LABEL,
    OWNER,
    PYTHON_IMAGE,
    RUN,
    TOXIPROXY_IMAGE,
    folder_prefix,
    owner,
)
from backupchaos.environments.docker.outlet import Outlet
from backupchaos.environments.docker.runtime import filled
from backupchaos.environments.docker.sandbox import (
    BARE,
    KEEPER,
    LINK,
    SERVICE,
    TARGET,
    TOXIPROXY,
    DockerSandbox,
)
from backupchaos.environments.local.environment import DEFAULT_SIZE
from backupchaos.environments.local.isolation import BASE
from backupchaos.errors import HarnessBroken, MissingCapability

if TYPE_CHECKING:
    from docker import DockerClient

_MOUNTS = ("SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH")
"""Of the agents, which mount and supervise; whatever they start is started without (``local.launch``)."""
_LOSES = ("SYS_PTRACE", "NET_ADMIN")
"""Of the link: some kernels let nobody else have the filter on a socket that loses packets."""
_VOLUMES: dict[str, tuple[Place, ...]] = {
    KEEPER: tuple(Place),
    TARGET: tuple(Place),
    BARE: (Place.REPOSITORY, Place.RESTORE, Place.STATE),
    SERVICE: (Place.REPOSITORY, Place.STATE),
    LINK: (Place.STATE,),
    TOXIPROXY: (Place.STATE,),
}
_FIXED = {KEEPER: AGENT_IMAGE, LINK: PYTHON_IMAGE, TOXIPROXY: TOXIPROXY_IMAGE}
_OFFERS = frozenset({"volumes", "network", "processes", "readonly", "namespaces", "permissions"})


class DockerEnvironment:
    """Sandboxes of containers on this machine's Docker daemon.

    ``pull`` says what may be done about an image that is not here, ``remote`` that a daemon behind a network is
    meant; left out, the environment variables decide.
    """

    name = "docker"

    def __init__(self, *, pull: images.Pull | None = None, remote: bool = False) -> None:
        self._pull = pull
        self._remote = remote
        self._swept = False

    def probe(self) -> Mapping[str, str]:
        """Capability -> empty string if usable here, else the reason why not; makes one sandbox."""
        try:
            with self.sandbox({}) as sandbox:
                offers = sandbox.capabilities
        except (MissingCapability, HarnessBroken) as problem:
            return dict.fromkeys((*_OFFERS, "syscalls", "docker"), str(problem))
        return {"docker": "", **dict.fromkeys(offers, "")}

    def need_image(self, image: str) -> None:
        """See ``Containing``."""
        client = engine.connect(remote=self._remote)
        try:
            images.need(client, image or PYTHON_IMAGE, self._pull)
        finally:
            client.close()

    def sandbox(
        self,
        sizes: Mapping[Place, int],
        *,
        expose: Sequence[str] = (),
        writable: Sequence[str] = (),
    ) -> DockerSandbox:
        """A fresh sandbox; raises ``MissingCapability`` when Docker or an image is missing.

        The first one removes what dead harnesses have left on the daemon.
        """
        if writable:
            raise MissingCapability("allow", "directories of the machine are not given to containers")
        client = engine.connect(remote=self._remote)
        from docker.errors import APIError

        words = engine.describe(client)
        try:
            if not self._swept:
                engine.sweep(client)
                self._swept = True
            images.need(client, AGENT_IMAGE, self._pull)
            made = _Making(client, {place: int(sizes.get(place, DEFAULT_SIZE)) for place in Place}, expose)
        except BaseException:
            client.close()
            raise
        made.pull = self._pull
        sandbox = DockerSandbox(made, words, _OFFERS)
        try:
            made.ground()
            sandbox.member(KEEPER)
            reasons = sandbox.call("probe_syscalls") | sandbox.call(
                "probe_attributes", volume=sandbox.path(Place.REPOSITORY)
            )
            sandbox.capabilities = _OFFERS | {name for name, reason in reasons.items() if not reason}
        except APIError as problem:
            sandbox.close()
            text = f"{words} refuses what a sandbox needs: {problem.explanation or problem}"
            raise MissingCapability("docker", text, "see docs/containers.md") from None
        except BaseException:
            sandbox.close()
            raise
        return sandbox


class _Making:
    """Everything that one sandbox puts on the daemon, under one label."""

    pull: images.Pull | None = None

    def __init__(self, client: DockerClient, sizes: Mapping[Place, int], expose: Sequence[str]) -> None:
        self._client = client
        self._sizes = sizes
        self.run = secrets.token_hex(6)
        self.paths: Mapping[Place, str] = {place: f"{BASE}/{place}" for place in Place}
        self.folder = Path(tempfile.mkdtemp(prefix=folder_prefix()))
        self._labels = {RUN: self.run, OWNER: owner()}
        self._volumes: dict[Place, str] = {}
        self._network: Any = None
        self._runtime = filled(client)
        self._security = engine.security(client)
        self._binds = [(str(Path(path).resolve()), str(Path(path).absolute())) for path in expose]
        self._packages = [(str(path), f"{CODE}/{path.name}") for path in _packages()]

    def ground(self) -> None:
        """Volumes, and a network without a way out."""
        for place, size in self._sizes.items():
            name = f"backupchaos-{self.run}-{place}"
            # Not size=, which Podman takes for a quota of its own.
            pages = -(-size // os.sysconf("SC_PAGE_SIZE"))
            options = {"type": "tmpfs", "device": "tmpfs", "o": f"nr_blocks={pages},mode=755,nosuid,nodev"}
            self._client.volumes.create(
                name, driver="local", driver_opts=options, labels={LABEL: str(place), **self._labels}
            )
            self._volumes[place] = name
        self._network = self._client.networks.create(
            f"backupchaos-{self.run}",
            driver="bridge",
            internal=True,
            options=ISOLATED,
            labels={LABEL: "network", **self._labels},
        )

    def member(self, name: str, sandbox: DockerSandbox) -> Member:
        """Start one of the containers."""
        image = _FIXED.get(name) or sandbox.images.get(TARGET if name == BARE else name) or PYTHON_IMAGE
        images.need(self._client, image, self.pull)
        places = _VOLUMES.get(name, (Place.STATE,))  # another service: it has its files there
        shared = "" if name in (KEEPER, TARGET) else str(sandbox.member(TARGET).wrapped.id)
        mounts = name not in (LINK, TOXIPROXY)
        plan = Plan(
            name=name,
            image=image,
            run=self.run,
            runtime=self._runtime,
            sockets=self.folder,
            volumes={place: self._volumes[place] for place in places},
            paths=self.paths,
            network="none" if name == KEEPER else self._network.name,
            network_of=shared,
            capabilities=_MOUNTS if mounts else _LOSES,
            security=self._security if mounts else (),
            mounts=mounts,
            read_only=name in (TARGET, BARE),
            binds=[*self._packages[1:], *self._binds] if name != KEEPER else (),
            empty=[place for place in Place if place not in places and place is not Place.RESTORE],
        )
        return start(plan)

    def outlet(self, member: Member) -> Outlet:
        """A network that a member can be taken off, in place of the one that it was on."""
        labels = {LABEL: "outlet", **self._labels}
        return Outlet(self._client, f"backupchaos-{self.run}-outlet", labels, member, self._network.name)

    def translated(self, word: str) -> str:
        """A word of a command line, with paths of this machine's Python and packages as the containers see them."""
        if word == sys.executable:
            return "python3"
        for outside, inside in self._packages:
            if word.startswith(outside + "/"):
                return inside + word[len(outside) :]
        return word

    def carries(self, path: str) -> bool:
        """Whether the containers see this file of the machine at its place."""
        return any(path == inside or path.startswith(f"{inside}/") for _, inside in self._binds)

    def at_hand(self, image: str) -> bool:
        """Whether an image is here."""
        return images.present(self._client, image)

    def remove(self) -> None:
        """Take everything off the daemon again."""
        problems = engine.remove(self._client, self.run)
        self._client.close()
        if problems:
            raise HarnessBroken("; ".join(problems))


def _packages() -> list[Path]:
    """Directories of our own packages that commands may name; ours first."""
    found = [Path(__file__).parents[2]]
    from importlib.util import find_spec

    for name in ("backupchaos_reference", "backupchaos_targets"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent)
    return found
