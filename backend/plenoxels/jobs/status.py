"""Where a job stands: status.json (contracts/job_folder.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from plenoxels import checked_json as check
from plenoxels.errors import PlenoxelError

FORMAT_VERSION = 1
MAX_BYTES = 256 * 1024
ERROR_CODES = (
    "dataset_missing", "dataset_invalid", "out_of_memory", "disk_full", "not_writable", "openvdb_missing",
    "device_missing", "folder_in_use", "resume_invalid", "internal",
)  # fmt: skip


class JobState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (JobState.FINISHED, JobState.CANCELLED, JobState.FAILED)


class JobStage(StrEnum):
    LOADING = "loading"
    CARVING = "carving"
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    DONE = "done"


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code of the contract, what happened and where, what to do."""

    code: str
    message: str
    fix: str = ""

    @classmethod
    def of(cls, error: PlenoxelError) -> JobError:
        """The contract's form of an error; a code it does not know becomes `internal`."""
        return cls(error.code if error.code in ERROR_CODES else "internal", error.message, error.fix)

    @property
    def sentence(self) -> str:
        return f"{self.message} {self.fix}".strip()


@dataclass(frozen=True)
class JobStatus:
    """One state of a job; the attributes are the keys of status.json, paths relative to the folder."""

    state: JobState = JobState.STARTING
    stage: JobStage = JobStage.LOADING
    message: str = "Starting"
    pid: int = 0
    updated: float = 0.0
    progress: float = 0.0
    iteration: int = 0
    seconds: float = 0.0
    eta_seconds: float | None = None
    rays_per_second: float | None = None
    loss: float | None = None
    psnr: float | None = None
    resolution: tuple[int, int, int] = (0, 0, 0)
    voxels: int = 0
    memory_mb: float = 0.0
    peak_memory_mb: float = 0.0
    device: str = ""
    preview: str | None = None
    checkpoint: str | None = None
    field: str | None = None
    levels: tuple[str, ...] = ()
    error: JobError | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite becomes null."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        values.update(resolution=list(self.resolution), levels=list(self.levels))
        for key, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                values[key] = None
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> JobStatus:
        """Raises ValueError: half a sentence that names the value at fault."""
        check.integer(check.required(values, "format_version"), "format_version", 1, FORMAT_VERSION)

        def optional(key: str) -> float | None:
            return None if values.get(key) is None else check.number(values[key], key)

        def path(key: str) -> str | None:
            return None if values.get(key) is None else check.text(values[key], key)

        x, y, z = (int(edge) for edge in check.numbers(values.get("resolution", [0, 0, 0]), "resolution", 3))
        error = values.get("error")
        if error is not None:
            entry = check.mapping(error, "error")
            error = JobError(*(check.text(entry.get(key, ""), key, check.MIB) for key in ("code", "message", "fix")))
        return cls(
            state=JobState(check.text(check.required(values, "state"), "state")),
            stage=JobStage(check.text(check.required(values, "stage"), "stage")),
            message=check.text(values.get("message", ""), "message", check.MIB),
            pid=check.integer(values.get("pid", 0), "pid", 0, 2**32),
            updated=check.number(values.get("updated", 0.0), "updated"),
            progress=check.number(values.get("progress", 0.0), "progress", 0, 1),
            iteration=check.integer(values.get("iteration", 0), "iteration", 0, 2**53),
            seconds=check.number(values.get("seconds", 0.0), "seconds"),
            eta_seconds=optional("eta_seconds"),
            rays_per_second=optional("rays_per_second"),
            loss=optional("loss"),
            psnr=optional("psnr"),
            resolution=(x, y, z),
            voxels=check.integer(values.get("voxels", 0), "voxels", 0, 2**53),
            memory_mb=optional("memory_mb") or 0.0,
            peak_memory_mb=optional("peak_memory_mb") or 0.0,
            device=check.text(values.get("device", ""), "device"),
            preview=path("preview"),
            checkpoint=path("checkpoint"),
            field=path("field"),
            levels=tuple(check.text(item, "levels") for item in check.sequence(values.get("levels", []), "levels", 32)),
            error=error,
        )
