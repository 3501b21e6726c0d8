"""Progress of a job: one live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from plenoxels.jobs.observer import JobConsole
from plenoxels.jobs.status import JobStage, JobStatus

_PLAIN_SECONDS = 5.0


@contextlib.contextmanager
def job_console() -> Iterator[JobConsole]:
    """The console that fits stdout."""
    if not sys.stdout.isatty():
        yield PlainConsole()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.fields[stage]}", style="bold"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    with Progress(*columns, console=Console(highlight=False), transient=True) as progress:
        yield RichConsole(progress)


class RichConsole:
    """Draws with a Rich progress display that the caller opened."""

    def __init__(self, progress: object) -> None:
        from rich.progress import Progress

        assert isinstance(progress, Progress)
        self._progress = progress
        self._task = progress.add_task("", total=1.0, stage="starting", facts="")

    def show(self, status: JobStatus) -> None:
        self._progress.update(self._task, completed=status.progress, stage=status.stage.value, facts=facts(status))

    def note(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)


class PlainConsole:
    """Prints a line when the stage changes, and at most every few seconds besides."""

    def __init__(self) -> None:
        self._stage: JobStage | None = None
        self._last = 0.0

    def show(self, status: JobStatus) -> None:
        now = time.monotonic()
        if status.state.is_over or (status.stage == self._stage and now - self._last < _PLAIN_SECONDS):
            return
        self._stage, self._last = status.stage, now
        self.note(f"{100 * status.progress:3.0f} %  {status.stage.value}: {facts(status)}")

    def note(self, line: str) -> None:
        # A watcher that closed the pipe must not end an hour of training.
        with contextlib.suppress(OSError, ValueError):
            print(line, flush=True)


def facts(status: JobStatus) -> str:
    """What is known of a job right now, in one line."""
    if status.stage is not JobStage.TRAINING:
        return status.message
    parts = [f"step {status.iteration:,}", "x".join(map(str, status.resolution)), f"{status.voxels:,} voxels"]
    if status.rays_per_second:
        parts.append(f"{status.rays_per_second / 1e6:.2f} M rays/s")
    if status.psnr is not None:
        parts.append(f"PSNR {status.psnr:.2f} dB")
    if status.eta_seconds is not None:
        parts.append(f"{duration(status.eta_seconds)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A length of time for people."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
