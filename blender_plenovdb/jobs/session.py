"""The session registry: the jobs this Blender watches, what was last seen of them, and the fields it has read.

The one place with state that outlives a call. The panel draws from it, so that drawing never reads a file.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from ..errors import PlenoError
from . import backend
from .backend import BackendReport
from .environment import Environment
from .status import JobStatus
from .watching import Job, poll

CHECK_TIMEOUT = 120.0
"""Seconds that the backend's doctor may take: the first import of its libraries is slow."""

_jobs: dict[Path, Job] = {}
_seen: dict[Path, JobStatus] = {}
_problems: dict[Path, PlenoError] = {}

_fields_read: dict[Path, str] = {}

_answers: queue.SimpleQueue[BackendReport | PlenoError] = queue.SimpleQueue()
_check: threading.Thread | None = None
_answer: BackendReport | PlenoError | None = None


def watch(job: Job) -> None:
    """Watches `job`. One found by its folder does not displace the one whose process is our own child."""
    known = _jobs.get(job.folder)
    if known is None or known.process is None or job.process is not None:
        _jobs[job.folder] = job
        _seen.pop(job.folder, None)
    _problems.pop(job.folder, None)


def job(folder: Path) -> Job:
    return _jobs.get(folder) or Job(folder)


def refresh(folder: Path) -> JobStatus:
    """Looks at the job in `folder` and remembers what it saw. Raises PlenoError if there is no job."""
    try:
        status = poll(job(folder))
    except PlenoError as error:
        _seen.pop(folder, None)
        _problems[folder] = error
        raise
    _jobs.setdefault(folder, Job(folder))
    _problems.pop(folder, None)
    _seen[folder] = status
    return status


def last_seen(folder: Path) -> JobStatus | None:
    """What the last `refresh` saw; reads nothing."""
    return _seen.get(folder)


def problem(folder: Path) -> PlenoError | None:
    """Why the last `refresh` saw nothing; reads nothing."""
    return _problems.get(folder)


def is_active(folder: Path) -> bool:
    """Whether the job is watched and was not over when last seen; reads nothing."""
    if folder in _problems or folder not in _jobs:
        return False
    status = _seen.get(folder)
    return status is None or not status.is_over


def active() -> list[Path]:
    return [folder for folder in _jobs if is_active(folder)]


def note_field(path: Path, fingerprint: str) -> None:
    """Remembers which field Blender has read from a path: it keeps those voxels until it ends."""
    _fields_read.setdefault(path, fingerprint)


def is_outdated(path: Path, fingerprint: str) -> bool:
    """Whether Blender would show an older field than the one that the path holds now."""
    return _fields_read.get(path, fingerprint) != fingerprint


def start_backend_check(environment: Environment) -> None:
    """Asks the backend's doctor in a thread; `collect_backend_answer` brings what it said."""
    global _check
    if is_checking_backend():
        return
    _check = threading.Thread(target=_ask_backend, args=(environment,), name="plenovdb doctor", daemon=True)
    _check.start()


def is_checking_backend() -> bool:
    return _check is not None and (_check.is_alive() or not _answers.empty())


def collect_backend_answer() -> None:
    """Takes the doctor's answer over from its thread if it is there; never waits."""
    global _answer
    while not _answers.empty():
        _answer = _answers.get_nowait()


def remember_backend_answer(answer: BackendReport | PlenoError) -> None:
    _answers.put(answer)
    collect_backend_answer()


def backend_answer() -> BackendReport | PlenoError | None:
    """What the doctor said last in this session, if it was asked."""
    return _answer


def _ask_backend(environment: Environment) -> None:
    try:
        _answers.put(backend.check(environment, timeout=CHECK_TIMEOUT))
    except PlenoError as error:
        _answers.put(error)


def forget() -> None:
    """Stops watching; the trainers go on."""
    global _answer
    collect_backend_answer()
    _answer = None
    _jobs.clear()
    _seen.clear()
    _problems.clear()
