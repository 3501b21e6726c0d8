"""Runs a kernel over many items on several threads: Warp's CPU launches are serial, but release Python's lock."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

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
    """A fixed set of worker threads. Each works through a range of its own; who is done takes from the fullest one."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self._executor = ThreadPoolExecutor(self.threads - 1, "plenoxels") if self.threads > 1 else None

    def run(self, count: int, work: Callable[[int, int, int], None], smallest_chunk: int = 64) -> None:
        """Calls `work(worker, begin, end)` so that [0, count) is covered once; returns when all is done.

        About eight chunks a thread even out uneven rays; no two calls with the same worker overlap. The chunks depend
        on nothing but `count`, `smallest_chunk` and the number of threads; who does which does not repeat.

        Raises:
            Exception: the first one that a worker raised; chunks that nobody had begun by then are left out.
        """
        chunk = max(smallest_chunk, -(-count // (self.threads * _CHUNKS_PER_THREAD)))
        chunks = -(-count // chunk)
        workers = max(1, min(self.threads, chunks))
        ends = [chunks * (i + 1) // workers for i in range(workers)]
        # Neighbouring chunks share memory, so each worker begins with a range of them. Deques need no lock: pop and
        # popleft are atomic, and nobody adds chunks later.
        left = [deque(range(begin, end)) for begin, end in itertools.pairwise([0, *ends])]

        def worker(index: int) -> None:
            try:
                while (number := _next_chunk(left, index)) is not None:
                    work(index, number * chunk, min((number + 1) * chunk, count))
            except BaseException:
                for chunks_left in left:
                    chunks_left.clear()
                raise

        futures = [self._executor.submit(worker, i) for i in range(1, workers)] if self._executor else []
        try:
            worker(0)
        finally:
            wait(futures)  # also when this thread failed: the others still use the caller's memory
        for future in futures:
            future.result()

    def close(self) -> None:
        """Ends the worker threads."""
        if self._executor:
            self._executor.shutdown(wait=True)


def _next_chunk(left: list[deque[int]], own: int) -> int | None:
    """The next of a worker's own chunks, or else the last one of the worker who has most left; None: all are taken."""
    with suppress(IndexError):
        return left[own].popleft()
    while any(left):
        with suppress(IndexError):  # its owner or another thief may have been quicker
            return max(left, key=len).pop()
    return None
