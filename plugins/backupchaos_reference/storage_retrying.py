"""A storage whose operations are tried again when the link to it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from backupchaos_reference.errors import NetworkError
from backupchaos_reference.retry import Listener, Retrier
from backupchaos_reference.settings import Settings
from backupchaos_reference.storage import Storage, Stored

T = TypeVar("T")


class RetryingStorage:
    """The same operations as `inner`; all of them may be repeated without harm."""

    def __init__(self, inner: Storage, settings: Settings, listener: Listener) -> None:
        self.inner = inner
        self.link = inner.link
        self._retrier = Retrier(settings, listener, inner.disconnect)

    def _call(self, operation: Callable[[], T]) -> T:
        return self._retrier.call(operation, NetworkError)

    def make_directory(self, name: str) -> None:
        """See Storage."""
        self._call(lambda: self.inner.make_directory(name))

    def stat(self, name: str) -> Stored | None:
        """See Storage."""
        return self._call(lambda: self.inner.stat(name))

    def read(self, name: str) -> bytes:
        """See Storage."""
        return self._call(lambda: self.inner.read(name))

    def write_temporary(self, temporary: str, data: bytes) -> None:
        """See Storage."""
        self._call(lambda: self.inner.write_temporary(temporary, data))

    def publish(self, temporary: str, name: str) -> None:
        """See Storage; prefer `write`: after a lost answer the temporary name may be gone."""
        self._call(lambda: self.inner.publish(temporary, name))

    def write(self, temporary: str, name: str, data: bytes) -> None:
        """Write and publish as one operation: a repetition starts from the data, so a lost answer does no harm."""

        def both() -> None:
            self.inner.write_temporary(temporary, data)
            self.inner.publish(temporary, name)

        self._call(both)

    def sync_directory(self, name: str) -> None:
        """See Storage."""
        self._call(lambda: self.inner.sync_directory(name))

    def list(self, directory: str) -> Iterator[Stored]:
        """See Storage."""
        return self._call(lambda: iter(tuple(self.inner.list(directory))))

    def touch(self, name: str) -> None:
        """See Storage."""
        self._call(lambda: self.inner.touch(name))

    def remove(self, name: str) -> None:
        """See Storage."""
        self._call(lambda: self.inner.remove(name))

    def disconnect(self) -> None:
        """See Storage."""
        self.inner.disconnect()

    def close(self) -> None:
        """See Storage."""
        self.inner.close()
