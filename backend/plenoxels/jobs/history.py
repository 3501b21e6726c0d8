"""How a training went, line by line: history.jsonl (contracts/job_folder.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plenoxels import checked_json as check
from plenoxels.files import write_failure
from plenoxels.training.progress import TrainingProgress

_LEAST_SECONDS = 1.0
_SHARE_OF_TIME = 0.001
_MAX_BYTES = 64 * check.MIB


@dataclass(frozen=True)
class HistoryLine:
    """One moment of a training; the attributes are the keys of a line.

    Attributes:
        iteration: optimisation steps done.
        seconds: seconds of training done.
        rays: rays used since this run began, or None where the trainer does not count.
        loss: smoothed mean squared error of sRGB-encoded values, or None.
        psnr: the latest held-out PSNR in dB (on a sample of pixels), or None.
        rays_per_second: over the last second or so, or None.
        resolution: the grid's.
        voxels: active voxels.
        memory_mb: resident memory of the trainer.
    """

    iteration: int
    seconds: float
    rays: int | None = None
    loss: float | None = None
    psnr: float | None = None
    rays_per_second: float | None = None
    resolution: tuple[int, int, int] = (0, 0, 0)
    voxels: int = 0
    memory_mb: float = 0.0

    @classmethod
    def of(cls, progress: TrainingProgress, memory_mb: float) -> HistoryLine:
        """A line of where the training stands; numbers are rounded to what can be meant."""

        def rounded(value: float | None, digits: int) -> float | None:
            return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")

        return cls(
            iteration=progress.iteration,
            seconds=round(progress.seconds, 3),
            rays=progress.rays,
            loss=rounded(progress.loss, 6),
            psnr=rounded(progress.psnr, 6),
            rays_per_second=rounded(progress.rays_per_second, 6),
            resolution=progress.resolution,
            voxels=progress.voxels,
            memory_mb=round(memory_mb, 1),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HistoryLine:
        """Raises ValueError: half a sentence that names the value at fault."""

        def optional(key: str) -> float | None:
            return None if values.get(key) is None else check.number(values[key], key)

        x, y, z = (int(edge) for edge in check.numbers(values.get("resolution", [0, 0, 0]), "resolution", 3))
        rays = values.get("rays")
        return cls(
            iteration=check.integer(check.required(values, "iteration"), "iteration", 0, 2**53),
            seconds=check.number(check.required(values, "seconds"), "seconds", 0),
            rays=None if rays is None else check.integer(rays, "rays", 0, 2**63),
            loss=optional("loss"),
            psnr=optional("psnr"),
            rays_per_second=optional("rays_per_second"),
            resolution=(x, y, z),
            voxels=check.integer(values.get("voxels", 0), "voxels", 0, 2**53),
            memory_mb=optional("memory_mb") or 0.0,
        )


class Pace:
    """Which moments of a training are kept: few enough for one of any length, never missing a change of resolution.

    One a second of training, and after 1000 s one each thousandth of the time so far: 10,000 in four months.
    """

    def __init__(self) -> None:
        self._due = -math.inf
        self._resolution: tuple[int, int, int] | None = None

    def keeps(self, progress: TrainingProgress) -> bool:
        """Whether this moment is kept; asked once for each."""
        if progress.seconds < self._due and progress.resolution == self._resolution:
            return False
        self._due = progress.seconds + max(_LEAST_SECONDS, _SHARE_OF_TIME * progress.seconds)
        self._resolution = progress.resolution
        return True


def append_line(path: Path, line: HistoryLine) -> None:
    """Adds a line, on a line of its own also behind the half one of a killed trainer. Raises DiskFull, NotWritable."""
    text = json.dumps(asdict(line), allow_nan=False) + "\n"
    try:
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    text = "\n" + text
            file.write(text.encode("ascii"))
    except OSError as error:
        raise write_failure(error, path) from error


def read_history(path: Path) -> list[HistoryLine]:
    """The lines of a history.jsonl, iterations ascending; empty where there is none.

    A line that goes back to an earlier iteration comes from a run that resumed there: the lines in between belong to
    steps that were lost, and are left out, as are lines that a killed trainer wrote half. Of two lines of the same
    iteration the later one knows more.
    """
    lines: list[HistoryLine] = []
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except OSError:
        return lines
    for text in content.splitlines():
        try:
            line = HistoryLine.from_json(check.mapping(json.loads(text), "line"))
        except (ValueError, RecursionError):
            continue
        while lines and lines[-1].iteration >= line.iteration:
            lines.pop()
        lines.append(line)
    return lines
