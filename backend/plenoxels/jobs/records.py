"""What a training leaves for people to look at. None of it is worth the training: failures are only noted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plenoxels.jobs import tensorboard
from plenoxels.jobs.curves import draw_curves
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.history import HistoryLine, Pace, append_line, read_history
from plenoxels.jobs.memory import memory_mb
from plenoxels.training.progress import TrainingProgress


class TrainingRecords:
    """Keeps history.jsonl and TensorBoard's files during a training, and draws curves.png behind it."""

    def __init__(self, folder: JobFolder, note: Callable[[str], None]) -> None:
        """`note` shows a line to people."""
        self._folder, self._note = folder, note
        self._pace = Pace()
        self._latest: TrainingProgress | None = None
        self._written: TrainingProgress | None = None
        self._board = tensorboard.TensorBoardLog(folder.tensorboard) if tensorboard.is_installed() else None
        self._failed: set[str] = set()

    def report(self, progress: TrainingProgress) -> None:
        """Keeps a moment of the training if it is time for one."""
        if progress.stage != "training" or not progress.iteration:
            return
        self._latest = progress
        if self._pace.keeps(progress):
            self._write(progress)

    def preview(self, image: NDArray[np.uint8]) -> None:
        """Keeps a held-out view, uint8 [height, width, 3]."""
        board, latest = self._board, self._latest
        if board is not None and latest is not None:
            self.attempt("TensorBoard's files", lambda: board.add_picture(image, latest.iteration, latest.seconds))

    def finish_training(self) -> None:
        """Keeps the last moment and closes the files."""
        if self._latest is not None and self._latest is not self._written:  # the last measurement comes at the end
            self._write(self._latest)
        if self._board is not None:
            self.attempt("TensorBoard's files", self._board.close)

    def draw(self, title: str, final_psnr: float | None) -> None:
        """Draws curves.png; see `draw_curves`."""
        history = read_history(self._folder.history)
        if history:
            # The field is saved by now: an impatient second Ctrl-C ends the drawing, not the job.
            with contextlib.suppress(KeyboardInterrupt):
                self.attempt("learning curves", lambda: draw_curves(self._folder.curves, history, title, final_psnr))

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Does something that is not worth the training: its failure is noted, the first time."""
        try:
            action()
        except Exception as error:
            if what not in self._failed:
                self._note(f"No {what}: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}")
            self._failed.add(what)

    def _write(self, progress: TrainingProgress) -> None:
        line = HistoryLine.of(progress, memory_mb()[0])
        self._written = progress
        self.attempt("history", lambda: append_line(self._folder.history, line))
        board = self._board
        if board is not None:
            self.attempt("TensorBoard's files", lambda: board.add(line))
