"""The kernels' thread pool: everything once, idle workers steal, failures arrive whole."""

from __future__ import annotations

import threading
import time

import pytest
from plenoxels.kernels.cpu.threads import ThreadPool


@pytest.fixture(params=[1, 2, 5])
def pool(request: pytest.FixtureRequest):
    pool = ThreadPool(request.param)
    yield pool
    pool.close()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 12_345])
def test_everything_is_covered_once_and_no_worker_runs_twice_at_a_time(pool: ThreadPool, count: int) -> None:
    seen = [0] * count
    busy = [threading.Lock() for _ in range(pool.threads)]

    def work(worker: int, begin: int, end: int) -> None:
        assert busy[worker].acquire(blocking=False)
        for i in range(begin, end):
            seen[i] += 1
        busy[worker].release()

    for smallest in (1, 64, 4096):
        pool.run(count, work, smallest)
    assert seen == [3] * count


def test_uneven_work_is_stolen() -> None:
    """All the slow chunks lie in the first worker's range: the others must take most of them."""
    pool = ThreadPool(4)
    done: list[tuple[int, int]] = []

    def work(worker: int, begin: int, end: int) -> None:
        if begin < 8:
            time.sleep(0.05)
        done.append((worker, begin))

    begin = time.perf_counter()
    pool.run(32, work, smallest_chunk=1)
    elapsed = time.perf_counter() - begin
    pool.close()
    assert sorted(start for _, start in done) == list(range(32))
    slow = [worker for worker, start in done if start < 8]
    assert len(set(slow)) >= 3, "eight slow chunks that began with one worker"
    assert elapsed < 8 * 0.05


def test_each_worker_begins_in_a_range_of_its_own() -> None:
    pool = ThreadPool(2)
    first: dict[int, int] = {}
    both = threading.Barrier(2, timeout=10)

    def work(worker: int, begin: int, end: int) -> None:
        if worker not in first:
            first[worker] = begin
            both.wait()

    pool.run(16, work, smallest_chunk=1)
    pool.close()
    assert first == {0: 0, 1: 8}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_arrives_when_nobody_works_any_more(threads: int) -> None:
    pool = ThreadPool(threads)
    working = threading.Semaphore(threads)
    calls = []

    def work(worker: int, begin: int, end: int) -> None:
        with working:
            calls.append(begin)
            if begin == 0:
                raise MemoryError("no more")
            time.sleep(0.02)

    with pytest.raises(MemoryError, match="no more"):
        pool.run(24, work, smallest_chunk=1)
    assert all(working.acquire(blocking=False) for _ in range(threads))
    assert len(calls) < 24
    pool.close()
