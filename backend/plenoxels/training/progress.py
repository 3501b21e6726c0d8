"""What the trainer tells whoever watches it, and what they can ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plenoxels.grid import VoxelGrid


@dataclass(frozen=True)
class TrainingProgress:
    """Where the training stands.

    Attributes:
        stage: `loading`, `carving`, `training` or `evaluating`.
        message: a short sentence for people.
        iteration: optimisation steps done.
        seconds: seconds of training done (pictures, checkpoints and measuring left out).
        progress: 0 to 1.
        eta_seconds: seconds of training left, or None.
        rays_per_second: over the last second or so, or None.
        loss: mean squared error of the last batches, sRGB-encoded values, or None.
        psnr: the latest held-out PSNR in dB (on a sample of pixels), or None.
        resolution: the current grid's.
        voxels: active voxels.
        rays: rays used since this run began, or None where nobody counts.
    """

    stage: str
    message: str
    iteration: int = 0
    seconds: float = 0.0
    progress: float = 0.0
    eta_seconds: float | None = None
    rays_per_second: float | None = None
    loss: float | None = None
    psnr: float | None = None
    resolution: tuple[int, int, int] = (0, 0, 0)
    voxels: int = 0
    rays: int | None = None


@dataclass(frozen=True)
class TrainingSnapshot:
    """Everything a training needs to go on from here.

    Attributes:
        grid: the field.
        iteration, seconds: as in TrainingProgress.
        state: the optimiser's arrays (rows as the grid's, with the zero row left out) and the schedule's numbers;
            None when only
            a field is known and the optimiser starts anew.
    """

    grid: VoxelGrid
    iteration: int
    seconds: float
    state: dict[str, Any] | None


class TrainingObserver(Protocol):
    """Watches a training. Called from the training's thread."""

    def report(self, progress: TrainingProgress) -> None:
        """About ten times a second."""
        ...

    def should_stop(self) -> bool:
        """Asked about ten times a second; True ends the training cleanly."""
        ...

    def preview(self, image: NDArray[np.uint8]) -> None:
        """A held-out view as it looks now, uint8 [height, width, 3]."""
        ...

    def checkpoint(self, snapshot: TrainingSnapshot) -> None:
        """Now and then; the snapshot's arrays are not changed before this returns."""
        ...

    def note(self, line: str) -> None:
        """Something that people should know, e.g. that memory is short: sentences to keep."""
        ...


class SilentObserver:
    """Watches nothing and never asks to stop."""

    def report(self, progress: TrainingProgress) -> None:
        return

    def should_stop(self) -> bool:
        return False

    def preview(self, image: NDArray[np.uint8]) -> None:
        return

    def checkpoint(self, snapshot: TrainingSnapshot) -> None:
        return

    def note(self, line: str) -> None:
        return
