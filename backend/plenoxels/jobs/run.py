"""One training job from request to result."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from plenoxels.camera_files import write_cameras
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.datasets import Dataset, open_dataset
from plenoxels.errors import (
    DatasetInvalid,
    DiskFull,
    NotWritable,
    OutOfMemory,
    PlenoxelError,
    ResumeInvalid,
    is_out_of_memory,
)
from plenoxels.files import write_json
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.measuring import measure_field
from plenoxels.jobs.observer import TRAINING_ENDS, JobConsole, JobObserver
from plenoxels.jobs.request import JobRequest, TrainingOptions
from plenoxels.jobs.status import JobError, JobStage, JobState, JobStatus
from plenoxels.neuralvdb.checkpoint import load_checkpoint
from plenoxels.neuralvdb.levels_of_detail import write_levels
from plenoxels.neuralvdb.metadata import FieldMetadata, TrainingRecord
from plenoxels.neuralvdb.openvdb_module import load_openvdb
from plenoxels.neuralvdb.vdb_writer import write_field
from plenoxels.training.progress import TrainingSnapshot
from plenoxels.training.recipe import Recipe
from plenoxels.training.trainer import Trainer, TrainingResult

_MODEL_SETTINGS = ("sh_degree", "step_fraction", "weight_threshold", "transmittance_threshold", "background")


def run_training_job(request: JobRequest, folder: Path, console: JobConsole) -> JobStatus:
    """Runs a job to its end, good or bad; whatever happens after the folder is claimed ends in its status.json.

    SIGINT, SIGTERM and the file `cancel` end it cleanly, with a checkpoint and a field.

    Args:
        request: what to do.
        folder: the job folder.
        console: shows progress.

    Returns:
        The last status: `finished`, `cancelled` or `failed`.

    Raises:
        FolderInUse, ResumeInvalid, DiskFull, NotWritable: the folder cannot be claimed; it is left as it was.
        ValueError: the options name unknown settings or presets.
    """
    recipe, config = recipe_and_config(request.options)
    job = JobFolder.claim(folder, request)
    observer = JobObserver(job, console, request.dataset.name, config)
    last: dict[str, Any]
    try:
        with observer, _stopping_by_signal(observer):
            last = _Run(request, job, observer, console, recipe, config).run()
    except PlenoxelError as error:
        last = _failure(JobError.of(error))
    except (KeyboardInterrupt, SystemExit):
        last = _failure(
            JobError("internal", "The training was interrupted at once.", "Resume from its last checkpoint.")
        )
    except BaseException as error:
        expected = _known_failure(error, job.path)
        if expected is None:
            traceback.print_exc(file=sys.stderr)
            summary = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            last = _failure(
                JobError("internal", f"The trainer failed ({summary}).", "Its log holds the details; please report it.")
            )
        else:
            last = _failure(JobError.of(expected))
    with contextlib.suppress(DiskFull, NotWritable):
        observer.finish(**last)
    with contextlib.suppress(DiskFull, NotWritable):
        error_values = {} if observer.status.error is None else {"code": observer.status.error.code}
        job.append_event(observer.status.state.value, **error_values)
    job.clear_cancel()
    return observer.status


def recipe_and_config(options: TrainingOptions) -> tuple[Recipe, PlenoxelConfig]:
    """The recipe and the model that options ask for. Settings of both are given by `--set`.

    Raises:
        ValueError: a sentence about the setting at fault.
    """
    settings = dict(options.settings)
    model = {name: settings.pop(name) for name in _MODEL_SETTINGS if name in settings}
    try:
        values: dict[str, Any] = {
            name: int(text) if name == "sh_degree" else float(text)
            for name, text in model.items()
            if name != "background"
        }
        if "background" in model:
            values["background"] = tuple(float(part) for part in model["background"].split(","))
    except ValueError as error:
        raise ValueError(f"A setting of the model is no number: {error}.") from None
    config = PlenoxelConfig(compositing=Compositing(options.compositing), **values)
    if options.max_seconds is not None:
        settings["max_seconds"] = str(options.max_seconds)
    if options.seed is not None:
        settings["seed"] = str(options.seed)
    if options.deterministic:
        settings["deterministic"] = "true"
    return Recipe.preset(options.preset).with_overrides(settings), config


class _Run:
    """The steps of one job; each sets its stage."""

    def __init__(
        self,
        request: JobRequest,
        job: JobFolder,
        observer: JobObserver,
        console: JobConsole,
        recipe: Recipe,
        config: PlenoxelConfig,
    ) -> None:
        self._request, self._options = request, request.options
        self._job, self._observer, self._console = job, observer, console
        self._recipe, self._config = recipe, config

    def run(self) -> dict[str, Any]:
        """Returns what the last status says."""
        observer, options = self._observer, self._options
        self._job.append_event("started", dataset=str(self._request.dataset), options=options.to_json())
        load_openvdb()  # before an hour of training rather than behind it
        dataset = open_dataset(self._request.dataset, options.downscale, options.compositing)
        resume = self._load_resume()
        trainer = Trainer(dataset, self._config, self._recipe, options.device, options.threads)
        observer.update(state=JobState.RUNNING, device=trainer.device_description, message="Loading photos")
        counts = f"{len(dataset.train)} photos, {len(dataset.test)} held out"
        self._console.note(f"Training on {dataset.name}: {counts}, {trainer.device_description}")
        before = time.process_time()
        result = trainer.run(observer, resume)
        self._job.append_event(
            "trained",
            iterations=result.iterations,
            seconds=round(result.seconds, 3),
            cpu_seconds=round(time.process_time() - before, 3),
            rays=result.rays,
        )
        observer.records.finish_training()
        return self._finish(dataset, result)

    def _load_resume(self) -> TrainingSnapshot | None:
        path = self._options.resume
        if path is None:
            return None
        grid, metadata, state = load_checkpoint(path)
        saved = metadata.config
        if saved.compositing != self._config.compositing:
            raise ResumeInvalid(
                f"The checkpoint {path} composites {saved.compositing}, not {self._config.compositing}.",
                f"Give --compositing {saved.compositing}.",
            )
        if "sh_degree" in self._options.settings and saved.sh_degree != self._config.sh_degree:
            raise ResumeInvalid(f"The checkpoint {path} has sh_degree {saved.sh_degree}.", "Leave sh_degree out.")
        self._config = replace(self._config, sh_degree=saved.sh_degree)
        self._observer.protect(path)
        if not self._recipe.max_iterations and metadata.training.seconds >= self._recipe.max_seconds:
            self._console.note(
                f"The checkpoint was trained for {metadata.training.seconds:.0f} s already; "
                "give a greater --max-seconds to train on."
            )
        return TrainingSnapshot(grid, metadata.training.iterations, metadata.training.seconds, state)

    def _finish(self, dataset: Dataset, result: TrainingResult) -> dict[str, Any]:
        observer, job = self._observer, self._job
        observer.update(stage=JobStage.EXPORTING, message="Writing the field", progress=TRAINING_ENDS, eta_seconds=None)
        grid = result.grid
        if not grid.active_voxels:
            if not result.cancelled:
                raise DatasetInvalid(
                    f"The training ended without a visible voxel, after {result.iterations:,} steps in "
                    f"{result.seconds:.0f} s.",
                    "Give it more --max-seconds; if that does not help, photos and camera poses do not fit each other.",
                )
            grid = result.snapshot.grid
        write_cameras(
            job.cameras, dataset.views, result.scene_bounds, self._config.compositing.value, self._config.background
        )
        record = TrainingRecord(result.iterations, result.seconds, dataset.name, observer.status.psnr)
        metadata = FieldMetadata.of(grid, result.config, record)
        write_field(job.field, grid, metadata)
        # The field first: where there is no space for both, it is what people want.
        observer.checkpoint(result.snapshot)
        evaluation = None
        if not result.cancelled:
            evaluation = measure_field(job, dataset, observer, self._options.device, self._options.threads)
        if evaluation is None:
            job.drop_evaluation()
        else:
            # The same voxels once more, now with the figure that was measured on them.
            metadata = replace(metadata, training=replace(record, held_out_psnr=evaluation.psnr))
            write_field(job.field, grid, metadata)
            write_json(job.evaluation, {"field": job.field.name, "split": "test", **evaluation.to_json()})
        observer.update(stage=JobStage.EXPORTING, message="Writing levels of detail", progress=0.98)
        levels = [job.field, *write_levels(job.field, grid, metadata, self._options.levels)]
        psnr = metadata.training.held_out_psnr
        observer.update(message="Drawing the learning curves", progress=0.99)
        title = f"{dataset.name}: {result.iterations:,} steps in {result.seconds:.0f} s"
        observer.records.draw(title, evaluation.psnr if evaluation else None)
        measured = "" if psnr is None else f", held-out {evaluation.summary() if evaluation else f'PSNR {psnr:.2f} dB'}"
        state = JobState.CANCELLED if result.cancelled else JobState.FINISHED
        word = "Cancelled" if result.cancelled else "Finished"
        return {
            "state": state,
            "stage": JobStage.DONE,
            "message": f"{word} after {result.seconds:.0f} s and {result.iterations:,} steps{measured}"
            + (", on a coarser grid than asked for: memory was short" if result.coarsened else ""),
            "progress": 1.0,
            "iteration": result.iterations,
            "seconds": result.seconds,
            "eta_seconds": None,
            "psnr": psnr,
            "resolution": grid.resolution,
            "voxels": grid.active_voxels,
            "field": job.relative(job.field),
            "levels": tuple(job.relative(path) for path in levels),
        }


def _failure(error: JobError) -> dict[str, Any]:
    return {"state": JobState.FAILED, "message": error.message, "eta_seconds": None, "error": error}


def _known_failure(error: BaseException, folder: Path) -> PlenoxelError | None:
    """What an error of the system means to a user, or None where it is a fault of this program."""
    if is_out_of_memory(error):
        return OutOfMemory(
            "There was not enough memory for this training.",
            "Use --downscale 2, a lower preset, or --set max_resolution=128; or close other programs.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"There was no space left in {folder}.", "Free some space or choose another output folder.")
    return None


@contextlib.contextmanager
def _stopping_by_signal(observer: JobObserver) -> Iterator[None]:
    """SIGINT and SIGTERM end the training cleanly; a second SIGINT ends it at once. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        observer.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
