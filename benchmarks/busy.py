"""A busy machine, for benchmarks that compare with an idle one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def load() -> Iterator[None]:
    """A busy loop on every core, and one more."""
    workers = [multiprocessing.Process(target=_spin, daemon=True) for _ in range((os.cpu_count() or 1) + 1)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _spin() -> None:
    while True:
        pass
