"""status.json: where a job stands, as the trainer wrote it and checked here."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from ..errors import PlenoError
from . import checked
from .checked import Invalid
from .processes import is_alive

FORMAT_VERSION = 1
STATUS_LIMIT = 256 * 1024
STALE_SECONDS = 60.0
"""A running trainer writes every 2 seconds; silence beyond this means that it is gone."""

STATES = ("starting", "running", "finished", "cancelled", "failed")
STAGES = ("loading", "carving", "training", "evaluating", "exporting", "done")


@dataclass(frozen=True)
class JobFailure:
    """Why a job failed: a code of the contract, what happened, what to do."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True)
class JobStatus:
    """One reading of a job. Times in seconds, memory in MB, PSNR in dB, progress from 0 to 1, paths absolute."""

    folder: Path
    state: str
    stage: str
    message: str = ""
    pid: int = 0
    updated: float = 0.0
    progress: float = 0.0
    iteration: int = 0
    seconds: float = 0.0
    eta_seconds: float | None = None
    rays_per_second: float | None = None
    loss: float | None = None
    psnr: float | None = None
    resolution: tuple[int, int, int] | None = None
    voxels: int = 0
    memory_mb: float = 0.0
    peak_memory_mb: float = 0.0
    device: str = ""
    preview: Path | None = None
    checkpoint: Path | None = None
    field: Path | None = None
    levels: tuple[Path, ...] = ()
    error: JobFailure | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("finished", "cancelled", "failed")

    def raise_if_failed(self) -> None:
        """Raises PlenoError with the trainer's own words if the job failed."""
        if self.state == "failed":
            failure = self.error or JobFailure("internal", "The training failed.", "See train.log.")
            raise PlenoError(failure.message, failure.fix)


def starting(folder: Path, pid: int) -> JobStatus:
    """What is known of a job before its first status.json."""
    return JobStatus(folder, "starting", "loading", "Starting the trainer", pid=pid, updated=time.time())


def failed(status: JobStatus, code: str, message: str, fix: str) -> JobStatus:
    return replace(status, state="failed", eta_seconds=None, error=JobFailure(code, message, fix))


def read_status(folder: Path) -> JobStatus:
    """Reads `folder`/status.json. Raises PlenoError if it is missing, too large, or not of the contract."""
    path = folder / "status.json"
    try:
        return _parse(folder, checked.read_object(path, STATUS_LIMIT))
    except OSError as error:
        raise PlenoError(
            f"There is no readable status.json in {folder} ({error.strerror or error}).",
            "Choose the folder of a training job.",
        ) from error
    except Invalid as error:
        raise PlenoError(
            f"The file {path} {error}.", "It was not written by a trainer that this extension understands."
        ) from error


def judge(status: JobStatus, *, is_ours_alive: bool | None, now: float | None = None) -> JobStatus:
    """The status as a launcher reports it: an unfinished job without a living trainer has failed.

    is_ours_alive: whether our own child still runs; None if the trainer was started by someone else.
    """
    if status.is_over:
        return status
    now = time.time() if now is None else now
    alive = is_alive(status.pid) if is_ours_alive is None else is_ours_alive
    # Our own child is known to live, so silence is then only a machine that slept or is overloaded.
    silent = is_ours_alive is None and now - status.updated > STALE_SECONDS
    if alive and not silent:
        return status
    return failed(
        status,
        "internal",
        f"The trainer in {status.folder} stopped without saying why.",
        "Open the log (train.log) to see its last words, then train again.",
    )


def _parse(folder: Path, values: dict[str, Any]) -> JobStatus:
    version = checked.integer(values, "format_version", 1, 10**6)
    if version > FORMAT_VERSION:
        raise Invalid(f"has format version {version}, newer than this extension knows")
    state = checked.choice(values, "state", STATES)
    resolution = values.get("resolution")
    if resolution is not None:
        resolution = tuple(int(n) for n in checked.numbers(values, "resolution", 3))
        resolution = resolution if all(n > 0 for n in resolution) else None  # zeros stand for "not known yet"
    levels = values.get("levels", [])
    if not isinstance(levels, list) or len(levels) > 32:
        raise Invalid("has no usable list as levels")
    return JobStatus(
        folder=folder,
        state=state,
        stage=checked.choice(values, "stage", STAGES),
        message=_clipped(values, "message"),
        pid=checked.integer(values, "pid", 0, 2**32),
        updated=checked.number(values, "updated"),
        progress=min(1.0, max(0.0, checked.number(values, "progress"))),
        iteration=checked.integer({"iteration": values.get("iteration") or 0}, "iteration", 0, 2**53),
        seconds=checked.optional_number(values, "seconds") or 0.0,
        eta_seconds=checked.optional_number(values, "eta_seconds"),
        rays_per_second=checked.optional_number(values, "rays_per_second"),
        loss=checked.optional_number(values, "loss"),
        psnr=checked.optional_number(values, "psnr"),
        resolution=resolution,
        voxels=checked.integer({"voxels": values.get("voxels") or 0}, "voxels", 0, 2**53),
        memory_mb=checked.optional_number(values, "memory_mb") or 0.0,
        peak_memory_mb=checked.optional_number(values, "peak_memory_mb") or 0.0,
        device=checked.text({"device": values.get("device") or ""}, "device"),
        preview=_inside(folder, values.get("preview"), "preview"),
        checkpoint=_inside(folder, values.get("checkpoint"), "checkpoint"),
        field=_inside(folder, values.get("field"), "field"),
        levels=tuple(path for item in levels if (path := _inside(folder, item, "levels")) is not None),
        error=_failure(values.get("error"), state),
    )


def _inside(folder: Path, value: object, key: str) -> Path | None:
    """A path relative to the job's folder; one that leads out of it is refused."""
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > checked.MAX_TEXT or "\0" in value:
        raise Invalid(f"has no usable path as {key}")
    relative = PurePath(value)
    if relative.is_absolute() or relative.drive or ".." in relative.parts:
        raise Invalid(f"has a path that leads out of the folder as {key}")
    return folder / relative


def _failure(value: object, state: str) -> JobFailure | None:
    if value is None:
        return None if state != "failed" else JobFailure("internal", "The training failed.", "See train.log.")
    if not isinstance(value, dict):
        raise Invalid("has no usable object as error")
    return JobFailure(code=checked.text(value, "code"), message=_clipped(value, "message"), fix=_clipped(value, "fix"))


def _clipped(values: dict[str, Any], key: str) -> str:
    """Words for people; longer ones than a panel can show are cut instead of refused."""
    value = values.get(key, "")
    if not isinstance(value, str):
        raise Invalid(f"has no usable text as {key}")
    return value[: checked.MAX_TEXT]
