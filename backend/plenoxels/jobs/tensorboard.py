"""TensorBoard's files of a training, where tensorboard is installed."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plenoxels.jobs.history import HistoryLine

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LEAST_PICTURE_SECONDS = 5.0
_SHARE_OF_TIME = 0.02
_SCALARS = ("loss", "psnr", "rays_per_second", "voxels")


def is_installed() -> bool:
    return importlib.util.find_spec("tensorboard") is not None


class TensorBoardLog:
    """Writes scalars (`loss`, `psnr`, `rays_per_second`, `voxels`) and the preview, each at its iteration."""

    def __init__(self, folder: Path) -> None:
        """The folder and its file are made with the first value, so that one knows from which iteration on it counts.

        Needs tensorboard.
        """
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._picture_due = -math.inf

    def add(self, line: HistoryLine) -> None:
        """The scalars of one moment. Raises OSError and whatever else tensorboard raises."""
        writer = self._open(line.iteration)
        for name in _SCALARS:
            value = getattr(line, name)
            if value is not None:
                writer.add_scalar(name, value, line.iteration)

    def add_picture(self, image: NDArray[np.uint8], iteration: int, seconds: float) -> None:
        """The preview, uint8 [height, width, 3]; of a long training only some of them. Raises as `add` does."""
        if seconds < self._picture_due:
            return
        self._picture_due = seconds + max(_LEAST_PICTURE_SECONDS, _SHARE_OF_TIME * seconds)
        self._open(iteration).add_image("preview", image, iteration, dataformats="HWC")

    def close(self) -> None:
        """Raises as `add` does."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, iteration: int) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # A resumed run begins anew at its checkpoint: what an earlier one wrote from there on is hidden.
            self._writer = SummaryWriter(str(self._folder), purge_step=iteration, flush_secs=10)
        return self._writer
