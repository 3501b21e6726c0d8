"""Runs a kernel over many items on several threads: Warp's CPU launches are serial, but release Python's lock."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_CHUNKS_PER_THREAD = 8


def default_threads() -> int:
    """Threads this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keeps torch's small operations on the calling thread.

    Torch's own workers spin after each operation and take the processor from the kernels' threads: a training step
    beside
    another busy program took ten times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ThreadPool:
    """A fixed set of worker threads that take chunks of work until none is left."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self._executor = ThreadPoolExecutor(self.threads - 1, "plenoxels") if self.threads > 1 else None

    def run(self, count: int, work: Callable[[int, int, int], None], smallest_chunk: int = 64) -> None:
        """Calls `work(worker, begin, end)` so that [0, count) is covered once; returns when all is done.

        About eight chunks a thread even out uneven rays; no two calls with the same worker overlap.

        Raises:
            Exception: the first one that a worker raised.
        """
        chunk = max(smallest_chunk, -(-count // (self.threads * _CHUNKS_PER_THREAD)))
        begins = itertools.count(0, chunk)  # next() is atomic, so it hands out each chunk once

        def worker(index: int) -> None:
            while (begin := next(begins)) < count:
                work(index, begin, min(begin + chunk, count))

        helpers = min(self.threads, -(-count // chunk)) - 1
        futures = [self._executor.submit(worker, i + 1) for i in range(helpers)] if self._executor else []
        worker(0)
        for future in futures:
            future.result()

    def close(self) -> None:
        """Ends the worker threads."""
        if self._executor:
            self._executor.shutdown(wait=True)
