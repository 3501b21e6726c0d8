"""Watching a job: its folder, and the process if we started it. A job's state is a function of these two alone."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import PlenoError
from . import processes, status
from .environment import INSTALL_HINT
from .status import JobStatus, judge, read_status

LOG_TAIL = 8 * 1024
"""Bytes of train.log that are searched for the reason when a trainer dies before its first status."""


@dataclass(frozen=True)
class Job:
    """A job to watch. process: our own child, or None for a job that was found by its folder; started: unix seconds."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0


def poll(job: Job) -> JobStatus:
    """Where the job stands now. Raises PlenoError only for a folder that holds no job."""
    # The process is looked at first: a trainer that ends in between has then written its last status.
    exit_status = job.process.poll() if job.process is not None else None
    running = None if job.process is None else exit_status is None
    try:
        current = read_status(job.folder)
    except PlenoError:
        if job.process is None or (job.folder / "status.json").exists():
            raise
        current = status.starting(job.folder, job.process.pid)
        return current if running else _died_early(job, current, exit_status)
    if job.process is not None and current.updated < job.started:  # a resumed folder still shows the run before
        current = status.starting(job.folder, job.process.pid)
        return current if running else _died_early(job, current, exit_status)
    return judge(current, is_ours_alive=running)


def request_cancel(job: Job, current: JobStatus, *, force: bool = False) -> None:
    """Leaves the `cancel` file that asks the trainer to stop cleanly; with `force` ends the process as well.

    Raises PlenoError if the folder cannot be written, or a trainer that is not ours should be ended by force.
    """
    try:
        (job.folder / "cancel").touch()
    except OSError as error:
        raise PlenoError(
            f"The training in {job.folder} cannot be cancelled ({error.strerror or error}).",
            "Allow writing in that folder, or end the trainer's process "
            f"({current.pid}) with the system's task manager.",
        ) from error
    if not force:
        return
    if job.process is None:
        raise PlenoError(
            f"The trainer in {job.folder} was not started by this Blender and is not ended by force.",
            f"It has been asked to stop; if it does not, end process {current.pid} with the system's task manager.",
        )
    processes.end(job.process)


def find_jobs_in(root: Path) -> list[JobStatus]:
    """The jobs directly below `root`, newest first. Folders without a readable status are no jobs."""
    jobs = []
    try:
        folders = [entry for entry in root.iterdir() if (entry / "status.json").is_file()]
    except OSError:
        return []
    for folder in folders:
        try:
            jobs.append(poll(Job(folder)))
        except PlenoError:
            continue
    return sorted(jobs, key=lambda job: job.updated, reverse=True)


def _died_early(job: Job, current: JobStatus, exit_status: int | None) -> JobStatus:
    tail = read_tail(job.folder / "train.log")
    if re.search(r"No module named '?plenoxels\b", tail):
        return status.failed(
            current,
            "internal",
            "The backend (the package plenoxels) is not installed in the interpreter.",
            INSTALL_HINT,
        )
    if exit_status == 2:
        return status.failed(
            current,
            "internal",
            f"The backend does not know an option it was given: {_last_line(tail)}",
            "Install the backend that comes with this version of the extension.",
        )
    return status.failed(
        current,
        "internal",
        f"The trainer ended before it began (exit status {exit_status}): {_last_line(tail)}",
        "Check the interpreter in the extension's preferences; the whole story is in train.log.",
    )


def read_tail(path: Path, size: int = LOG_TAIL) -> str:
    """The last `size` bytes of a text file; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            return file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""


def _last_line(tail: str) -> str:
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing."
