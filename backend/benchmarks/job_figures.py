"""The figures that a finished training job left in its folder (contracts/job_folder.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from plenoxels import checked_json as check
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.history import read_history
from plenoxels.jobs.status import JobState
from plenoxels.system_memory import MB

_MAX_BYTES = 64 * check.MIB


@dataclass(frozen=True)
class JobFigures:
    """What a job measured, of the files that it wrote.

    Attributes:
        psnr: dB, mean over the held-out views, field.vdb read back; None without such views.
        ssim, lpips: likewise; None where not measured.
        views: held-out views.
        photo: width and height in pixels, as trained.
        seconds: of training alone: no loading, pictures, measuring or writing.
        cpu_seconds: processor time of all threads from loading the photos to the end of the training; None where the
            job does not say.
        threads: of the CPU's kernels; None on a GPU.
        device: as the job names it.
        iterations: optimisation steps.
        rays: used in training; None where the job does not say.
        resolution, voxels: of the field, active voxels.
        field_mb: size of field.vdb, MB of 1024^2 bytes.
        peak_memory_mb: resident memory of the whole job at its peak, MB of 1024^2 bytes.
    """

    psnr: float | None
    ssim: float | None
    lpips: float | None
    views: int
    photo: tuple[int, int]
    seconds: float
    cpu_seconds: float | None
    threads: int | None
    device: str
    iterations: int
    rays: int | None
    resolution: tuple[int, int, int]
    voxels: int
    field_mb: float
    peak_memory_mb: float

    @property
    def rays_per_second(self) -> float | None:
        """Mean over the training."""
        return None if self.rays is None or self.seconds <= 0 else self.rays / self.seconds

    @property
    def cpu_seconds_a_thread(self) -> float | None:
        """What the training would take on a machine where nobody else works; None on a GPU."""
        return None if self.cpu_seconds is None or not self.threads else self.cpu_seconds / self.threads

    @classmethod
    def gather(cls, folder: Path) -> JobFigures:
        """Reads a job folder.

        Raises:
            ValueError: the job did not finish, or a file is broken; a sentence.
            OSError: a file is missing.
        """
        job = JobFolder(folder)
        status = job.read_status()
        if status.state is not JobState.FINISHED:
            why = status.error.sentence if status.error else status.message
            raise ValueError(f"The job {folder} is {status.state.value}: {why}")
        evaluation = check.read_object(job.evaluation, _MAX_BYTES) if job.evaluation.exists() else {}
        trained = _last_event(folder / "events.jsonl", "trained")
        history = read_history(job.history)
        frame = check.read_object(job.cameras, _MAX_BYTES)["frames"][0]
        threads = re.search(r"\((\d+) thread", status.device)
        return cls(
            psnr=evaluation.get("psnr"),
            ssim=evaluation.get("ssim"),
            lpips=evaluation.get("lpips"),
            views=len(evaluation.get("views", [])),
            photo=(int(frame["w"]), int(frame["h"])),
            seconds=status.seconds,
            cpu_seconds=trained.get("cpu_seconds"),
            threads=int(threads[1]) if threads else None,
            device=status.device,
            iterations=status.iteration,
            rays=trained.get("rays", history[-1].rays if history else None),
            resolution=status.resolution,
            voxels=status.voxels,
            field_mb=round(job.field.stat().st_size / MB, 2),
            peak_memory_mb=status.peak_memory_mb,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> JobFigures:
        """Raises KeyError: a figure is missing."""
        lists = {name: tuple(values[name]) for name in ("photo", "resolution")}
        return cls(**{entry.name: values[entry.name] for entry in fields(cls)} | lists)


def _last_event(path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in path.read_text("utf-8").splitlines():
        event = json.loads(line)
        found = event if event.get("event") == name else found
    return found
