"""Turns a trainer's progress into the job's files, and people's wish to stop into a clean end."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plenoxels.config import PlenoxelConfig
from plenoxels.errors import DiskFull, NotWritable
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.memory import memory_mb
from plenoxels.jobs.records import TrainingRecords
from plenoxels.jobs.status import JobStage, JobStatus
from plenoxels.neuralvdb.checkpoint import checkpoint_path, remove_older, save_checkpoint
from plenoxels.neuralvdb.metadata import FieldMetadata, TrainingRecord
from plenoxels.training.progress import TrainingProgress, TrainingSnapshot

_WRITE_SECONDS = 0.5
_SILENT_SECONDS = 1.5
_KEPT_CHECKPOINTS = 2
# Shares of the whole job: training takes nearly all of it, measuring and exporting the rest.
TRAINING_BEGINS, TRAINING_ENDS = 0.02, 0.92


class JobConsole(Protocol):
    """Shows a job to whoever started it in a terminal."""

    def show(self, status: JobStatus) -> None:
        """Where the job stands; called often, from any thread."""
        ...

    def note(self, line: str) -> None:
        """Something that happened, a line to keep."""
        ...


class JobObserver:
    """Watches one training (a TrainingObserver) and keeps status.json fresh from a thread of its own.

    Use as a context manager: inside, status.json is written at every change, at most twice a second, and at least
    every 2 seconds, also while the trainer is busy elsewhere.

    Attributes:
        records: the training's history and curves.
    """

    def __init__(self, folder: JobFolder, console: JobConsole, dataset: str, config: PlenoxelConfig) -> None:
        self._folder, self._console = folder, console
        self._dataset, self._config = dataset, config
        self.records = TrainingRecords(folder, console.note)
        self._status = JobStatus(pid=os.getpid())
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._changed = True
        self._closed = False
        self._heartbeat = threading.Thread(target=self._beat, name="status", daemon=True)
        self._stop = threading.Event()
        self._written: list[Path] = []
        self._protected: tuple[Path, ...] = ()

    def __enter__(self) -> JobObserver:
        self._heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.records.finish_training()  # also that of a training that failed
        self._closed = True
        self._wake.set()
        self._heartbeat.join()

    @property
    def status(self) -> JobStatus:
        with self._lock:
            return self._status

    def update(self, **values: Any) -> None:
        """Changes attributes of the status; it is written within half a second."""
        with self._lock:
            self._status = replace(self._status, **values)
            self._changed = True
        self._console.show(self.status)

    def finish(self, **values: Any) -> None:
        """The last status, written at once. Call it behind the `with` block. Raises DiskFull, NotWritable."""
        self.update(**values)
        self._write()

    def protect(self, checkpoint: Path) -> None:
        """Never removes this checkpoint."""
        self._protected = (*self._protected, checkpoint)

    def stop(self) -> None:
        """Asks the training to stop, as the `cancel` file does. Safe in a signal handler."""
        self._stop.set()

    # What the trainer calls

    def report(self, progress: TrainingProgress) -> None:
        self.update(
            stage=JobStage(progress.stage),
            message=progress.message,
            progress=TRAINING_BEGINS + (TRAINING_ENDS - TRAINING_BEGINS) * min(1.0, max(0.0, progress.progress)),
            iteration=progress.iteration,
            seconds=progress.seconds,
            eta_seconds=progress.eta_seconds,
            rays_per_second=progress.rays_per_second,
            loss=progress.loss,
            psnr=progress.psnr,
            resolution=progress.resolution,
            voxels=progress.voxels,
        )
        self.records.report(progress)

    def should_stop(self) -> bool:
        return self._stop.is_set() or self._folder.is_cancel_requested

    def preview(self, image: NDArray[np.uint8]) -> None:
        self.records.preview(image)
        try:
            self._folder.write_preview(image)
        except (DiskFull, NotWritable) as error:
            self._console.note(f"No preview: {error}")
            return
        self.update(preview=self._folder.relative(self._folder.preview))

    def checkpoint(self, snapshot: TrainingSnapshot) -> None:
        """Saves a checkpoint and removes older ones of this run.

        A full disk does not end the training: there may be space again when it ends. A checkpoint of the same iteration
        (a resumed run that took no step yet) stays as it is.
        """
        path = checkpoint_path(self._folder.checkpoints, snapshot.iteration)
        if path.exists():
            return
        record = TrainingRecord(snapshot.iteration, snapshot.seconds, self._dataset, self.status.psnr)
        metadata = FieldMetadata.of(snapshot.grid, self._config, record)
        relative = self._folder.relative(path)
        try:
            save_checkpoint(path.parent, snapshot.iteration, snapshot.grid, metadata, snapshot.state or {})
            self._folder.append_event("checkpoint", path=relative, iteration=snapshot.iteration)
        except (DiskFull, NotWritable) as error:
            self._console.note(f"No checkpoint at iteration {snapshot.iteration}: {error}")
            return
        self._written = remove_older([*self._written, path], _KEPT_CHECKPOINTS, self._protected)
        self.update(checkpoint=relative)

    def note(self, line: str) -> None:
        self._console.note(line)
        with suppress(DiskFull, NotWritable):
            self._folder.append_event("note", message=line)

    def _beat(self) -> None:
        last = 0.0
        while not self._closed:
            if self._changed or time.monotonic() - last >= _SILENT_SECONDS:
                try:
                    self._write()
                except (DiskFull, NotWritable) as error:
                    self._console.note(f"No status: {error}")
                last = time.monotonic()
            self._wake.wait(_WRITE_SECONDS)

    def _write(self) -> None:
        memory, peak = memory_mb()
        with self._lock:
            self._status = replace(
                self._status, updated=time.time(), memory_mb=round(memory, 1), peak_memory_mb=round(peak, 1)
            )
            self._changed = False
            status = self._status
        self._folder.write_status(status)
