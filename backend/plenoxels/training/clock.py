"""Time and speed of a training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of training, without what is done for whoever watches."""

    def __init__(self) -> None:
        self._before = 0.0
        self._here = 0.0
        self._since: float | None = None

    def start_from(self, seconds: float) -> None:
        """Counts on from the seconds of an earlier run."""
        self._before = seconds

    @property
    def seconds_here(self) -> float:
        """Seconds of this run."""
        return self._here + (time.perf_counter() - self._since if self._since is not None else 0.0)

    @property
    def seconds(self) -> float:
        """Seconds of this run and those before it."""
        return self._before + self.seconds_here

    def prepared(self, voxels: int) -> None:
        """Told when a stage with so many voxels was made."""

    def stepped(self, rays: int, marched: int, coloured: int) -> None:
        """Told what a step did: rays, samples marched and samples coloured."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time counts inside this block."""
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._here += time.perf_counter() - self._since
            self._since = None


class WorkClock(Clock):
    """Counts work instead of time: about the seconds that two cores of 2021 take when nobody else disturbs them.

    Trainings by this clock can be compared on a machine that is fast in one minute and slow in the next.
    """

    _OF_STAGE, _OF_VOXEL = 0.8, 2.5e-6
    _OF_RAY, _OF_MARCHED, _OF_COLOURED = 0.5e-6, 0.012e-6, 0.07e-6

    def __init__(self) -> None:
        super().__init__()
        self._worked = 0.0

    @property
    def seconds_here(self) -> float:
        return self._worked

    def prepared(self, voxels: int) -> None:
        self._worked += self._OF_STAGE + self._OF_VOXEL * voxels

    def stepped(self, rays: int, marched: int, coloured: int) -> None:
        self._worked += self._OF_RAY * rays + self._OF_MARCHED * marched + self._OF_COLOURED * coloured


class SpeedMeter:
    """Rays per second over the last second or so, and the smoothed loss."""

    def __init__(self) -> None:
        self.rays_per_second: float | None = None
        self.loss: float | None = None
        self._rays = 0
        self._since: float | None = None

    def stepped(self, rays: int, loss: float, seconds: float) -> None:
        """Counts one step that ended at `seconds` of training."""
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        if self._since is None:
            self._since = seconds
            return
        self._rays += rays
        elapsed = seconds - self._since
        if elapsed > 1:
            self.rays_per_second, self._rays, self._since = self._rays / elapsed, 0, seconds
