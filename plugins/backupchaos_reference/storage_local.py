"""A repository in a local directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from backupchaos_reference import misbehaviour
from backupchaos_reference.errors import from_os_error
from backupchaos_reference.storage import Stored


class LocalStorage:
    """Plain files: temporary name, fsync, rename, fsync of the directory."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.link = root

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, side="repository", path=self._path(name), link=self.link) from error

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name) if name else self.root

    def make_directory(self, name: str) -> None:
        """Make the directory, and the repository's own parents, and bring the name to the disk."""
        with self._errors(name):
            os.makedirs(self._path(name), mode=0o700, exist_ok=True)
            self._sync(os.path.dirname(self._path(name)))

    def stat(self, name: str) -> Stored | None:
        """See Storage."""
        with self._errors(name):
            try:
                status = os.stat(self._path(name))
            except FileNotFoundError:
                return None
            return Stored(name, status.st_size, status.st_mtime)

    def read(self, name: str) -> bytes:
        """See Storage."""
        with self._errors(name), open(self._path(name), "rb") as file:
            return file.read()

    def write_temporary(self, temporary: str, data: bytes) -> None:
        """See Storage.  A write that fails takes its temporary file with it: on a full disk it only eats space."""
        path = self._path(temporary)
        with self._errors(temporary):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                try:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
                        if misbehaviour.on("ignore_short_writes"):
                            break
                    if not misbehaviour.on("no_fsync"):
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError:
                if not misbehaviour.on("leave_temp_files"):
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                raise

    def publish(self, temporary: str, name: str) -> None:
        """See Storage."""
        with self._errors(name):
            os.rename(self._path(temporary), self._path(name))

    def sync_directory(self, name: str) -> None:
        """See Storage."""
        with self._errors(name):
            self._sync(self._path(name))

    @staticmethod
    def _sync(path: str) -> None:
        if misbehaviour.on("no_fsync"):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def list(self, directory: str) -> Iterator[Stored]:
        """See Storage."""
        with self._errors(directory):
            names = sorted(os.listdir(self._path(directory)))
        for name in names:
            stored = self.stat(f"{directory}/{name}")
            if stored is not None:
                yield stored

    def touch(self, name: str) -> None:
        """See Storage."""
        with self._errors(name):
            os.utime(self._path(name))

    def remove(self, name: str) -> None:
        """See Storage."""
        with self._errors(name), contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def disconnect(self) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to give back."""
