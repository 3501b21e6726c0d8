"""The training from photos to a field: carve, optimise from coarse to fine, measure on the way."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import Dataset
from plenoxels.errors import DatasetInvalid, OutOfMemory, ResumeInvalid, is_out_of_memory
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import Adding, Kernels, open_kernels
from plenoxels.kernels.cpu.threads import one_torch_thread
from plenoxels.training.carving import Silhouettes
from plenoxels.training.clock import Clock, SpeedMeter
from plenoxels.training.first_grid import first_grid
from plenoxels.training.held_out import HeldOutSample
from plenoxels.training.memory import MemoryBudget
from plenoxels.training.photo_pool import PhotoPool
from plenoxels.training.preview import render_preview
from plenoxels.training.progress import TrainingObserver, TrainingProgress, TrainingSnapshot
from plenoxels.training.recipe import Recipe
from plenoxels.training.stage import Stage

_REPORT_SECONDS = 0.1
_FIRST_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class TrainingResult:
    """What a training ended with.

    Attributes:
        grid: the field, pruned, on the CPU.
        config: its model settings.
        iterations: optimisation steps, those before a resume included.
        seconds: seconds of training alone.
        cancelled: the observer asked to stop.
        rays: rays used since this run began.
        rays_per_second: their mean rate.
        snapshot: for a last checkpoint.
        coarsened: why the grid is coarser than the recipe wants (memory), and what to do; None: it is not.
    """

    grid: VoxelGrid
    config: PlenoxelConfig
    iterations: int
    seconds: float
    cancelled: bool
    rays: int
    rays_per_second: float
    snapshot: TrainingSnapshot
    coarsened: str | None

    @property
    def state(self) -> dict[str, Any]:
        return self.snapshot.state or {}

    @property
    def scene_bounds(self) -> tuple[float, ...]:
        return self.grid.scene_bounds


class Trainer:
    """Trains one field. Use it once."""

    def __init__(
        self,
        dataset: Dataset,
        config: PlenoxelConfig,
        recipe: Recipe,
        device: str = "auto",
        threads: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Chooses the kernels; nothing is loaded yet.

        Args:
            dataset: photos to train on and to measure with.
            config: the model.
            recipe: how.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            threads: of the CPU; None: all.
            clock: counts the seconds that the recipe speaks of; None: those of the wall.

        Raises:
            DeviceMissing: the device is not there, or cannot give the same bits each time where the recipe asks for it.
        """
        self._dataset, self._config, self._recipe = dataset, config, recipe
        self._kernels: Kernels = open_kernels(
            device, threads, Adding.ORDERED if recipe.deterministic else Adding.RACING
        )
        self._threads = threads
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._clock = clock or Clock()
        self._speed = SpeedMeter()
        self._iteration = 0
        self._rays = 0
        self._stage_index, self._last_stage = 0, recipe.stages - 1
        self._budget = MemoryBudget(self._kernels.device, recipe.max_memory_mb, not recipe.deterministic)
        self._coarsened: str | None = None
        self._is_alpha_known = False
        self._psnr: float | None = None
        self._evaluation_due = self._preview_due = _FIRST_LOOK_SECONDS
        self._checkpoint_due = recipe.checkpoint_seconds
        self._prepared_seconds = 0.0  # carving's part of the time: the schedule starts behind it

    @property
    def device_description(self) -> str:
        return self._kernels.description

    def run(self, observer: TrainingObserver, resume: TrainingSnapshot | None = None) -> TrainingResult:
        """Trains until the recipe's time or steps are used up, or the observer asks to stop.

        Args:
            observer: watches; called from this thread.
            resume: go on from here: same schedule, the seconds and steps done so far count.

        Raises:
            DatasetInvalid: photos are missing or broken, or their silhouettes leave nothing.
            OutOfMemory: not even the first grid fits. A later one that does not is left out (TrainingResult.coarsened).
            ResumeInvalid: the snapshot does not fit the model.
        """
        if not self._dataset.train:
            raise DatasetInvalid(f"{self._dataset.folder} has no training views.")
        observer.report(TrainingProgress("loading", "Preparing the kernels (a few seconds the first time)"))
        for degree in {0, self._config.sh_degree}:  # degree 0 finds the pixels that can hit the grid
            self._kernels.prepare(degree)
        pool, held_out, silhouettes = self._load(observer)
        self._is_alpha_known = silhouettes is not None
        if silhouettes is None:
            self._recipe = dataclasses.replace(self._recipe, density_rate=self._recipe.density_rate_open)
        with self._clock.running():
            stage = self._go_on(resume, pool) if resume else self._begin(observer, pool, silhouettes)
        if resume is None:
            self._prepared_seconds = self._clock.seconds
        cancelled = False
        while not (cancelled := observer.should_stop()):
            with self._clock.running():
                fraction = self._fraction()
                if fraction >= 1:
                    break
                while self._stage_index < self._last_stage and fraction >= self._stage_ends()[self._stage_index]:
                    grids = [stage.grid, *self._finer_grid(stage, silhouettes, observer)]
                    if len(grids) > 1:
                        del stage  # its buffers go before the next stage's are made
                        stage = self._finest_stage(grids, pool, observer)
                self._work_until_report(stage)
            self._tell(stage, observer, held_out)
        self._evaluation_due = self._preview_due = 0.0
        self._tell(stage, observer, held_out)
        final = stage.final_grid()
        return TrainingResult(
            grid=final.to("cpu"),
            config=self._config,
            iterations=self._iteration,
            seconds=self._clock.seconds,
            cancelled=cancelled,
            rays=self._rays,
            rays_per_second=self._rays / max(1e-9, self._clock.seconds_here),
            snapshot=self._snapshot(stage),
            coarsened=self._coarsened,
        )

    def _load(self, observer: TrainingObserver) -> tuple[PhotoPool, HeldOutSample | None, Silhouettes | None]:
        dataset = self._dataset
        total = len(dataset.train) + len(dataset.test)

        def loaded(done: int, before: int = 0) -> None:
            message = f"Loading photos: {done + before} of {total}"
            observer.report(TrainingProgress("loading", message, progress=0.0))

        photos = dataset.load_photos(dataset.train, lambda done, _: loaded(done))
        pool = PhotoPool(dataset.train, photos, self._config, self._kernels.device)
        silhouettes = None
        if dataset.has_alpha and self._recipe.use_alpha:
            silhouettes = Silhouettes(dataset.train, photos, self._threads)
        held_out = None
        if dataset.test:
            held = dataset.load_photos(dataset.test, lambda done, _: loaded(done, len(dataset.train)))
            held_out = HeldOutSample(PhotoPool(dataset.test, held, self._config, self._kernels.device))
        return pool, held_out, silhouettes

    def _begin(self, observer: TrainingObserver, pool: PhotoPool, silhouettes: Silhouettes | None) -> Stage:
        observer.report(TrainingProgress("carving", "Carving the visual hull from the silhouettes"))
        try:
            grid = first_grid(self._dataset, silhouettes, self._config, self._recipe, self._budget)
            return self._stage(grid.to(self._kernels.device), pool)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"There was not enough memory for the first grid ({error}).",
                "Lower max_resolution or sh_degree, raise stages, or close other programs.",
            ) from error

    def _go_on(self, resume: TrainingSnapshot, pool: PhotoPool) -> Stage:
        grid = resume.grid.to(self._kernels.device)
        if grid.sh_degree != self._config.sh_degree:
            raise ResumeInvalid(
                f"The checkpoint has harmonics of degree {grid.sh_degree}, the model {self._config.sh_degree}.",
                "Resume with the same sh_degree.",
            )
        self._iteration = resume.iteration
        self._clock.start_from(resume.seconds)
        self._checkpoint_due += resume.seconds
        state = resume.state or {}
        self._stage_index = min(int(state.get("stage", self._recipe.stages - 1)), self._recipe.stages - 1)
        self._prepared_seconds = float(state.get("prepared_seconds", 0.0))
        stage = self._stage(grid, pool)
        stage.restore(state)
        if "generator" in state:
            self._generator.set_state(torch.from_numpy(np.array(state["generator"], np.uint8)))
        return stage

    def _stage(self, grid: VoxelGrid, pool: PhotoPool) -> Stage:
        recipe, is_alpha_known = self._recipe, self._is_alpha_known
        stage = Stage(grid, pool, self._kernels, self._config, recipe, self._generator, is_alpha_known)
        self._clock.prepared(grid.active_voxels)
        return stage

    def _finer_grid(
        self, stage: Stage, silhouettes: Silhouettes | None, observer: TrainingObserver
    ) -> tuple[VoxelGrid, ...]:
        """The next stage's grid; nothing where there is no memory for it, and the training stays with this stage."""
        try:
            grid = stage.finer_grid(silhouettes, self._budget)
        except Exception as error:
            self._stay_coarse(stage.grid, error, observer)
            return ()
        if not grid.active_voxels:
            raise DatasetInvalid(
                "Every voxel became transparent: the photos and camera poses do not fit each other.",
                "Check the poses, or lower prune_weight.",
            )
        return (grid,)

    def _finest_stage(self, grids: list[VoxelGrid], pool: PhotoPool, observer: TrainingObserver) -> Stage:
        """A stage of the finer one of two grids, or of the coarser one where memory ends; empties the list."""
        coarse = grids[0]
        try:
            stage = self._stage(grids.pop(), pool)
            self._stage_index += 1
        except Exception as error:
            self._stay_coarse(coarse, error, observer)
        else:
            grids.clear()
            return stage
        grids.clear()
        return self._stage(coarse, pool)

    def _stay_coarse(self, grid: VoxelGrid, error: Exception, observer: TrainingObserver) -> None:
        """Makes the stage of this grid the last one because of an error, or raises it again where it is another kind.

        Where the same bits are wanted each time, memory that happens to be short must not decide about the field.
        """
        is_planned = isinstance(error, OutOfMemory)
        if not is_out_of_memory(error) or (self._recipe.deterministic and not is_planned):
            raise error
        why = str(error) if is_planned else (
            f"There was not enough memory for a finer one ({error}). Lower max_resolution or sh_degree, or close other "
            "programs."
        )  # fmt: skip
        self._last_stage = self._stage_index
        self._coarsened = f"The grid stays at {'x'.join(map(str, grid.resolution))}. {why}"
        observer.note(self._coarsened)

    def _stage_ends(self) -> list[float]:
        return np.cumsum(self._recipe.stage_shares()).tolist()

    def _fraction(self) -> float:
        if self._recipe.max_iterations:
            return self._iteration / self._recipe.max_iterations
        # Carving is part of the time, but leaves at least half of it to the optimisation.
        left = max(self._recipe.max_seconds - self._prepared_seconds, 0.5 * self._recipe.max_seconds)
        return (self._clock.seconds - self._prepared_seconds) / left

    def _work_until_report(self, stage: Stage) -> None:
        """Steps for a tenth of a second, or to the end of the stage."""
        end = self._stage_ends()[self._stage_index] if self._stage_index < self._last_stage else 1.0
        until = time.perf_counter() + _REPORT_SECONDS
        with one_torch_thread():
            while True:
                batches = self._batches_until(end)
                result = stage.step(min(1.0, self._fraction()), batches)
                self._iteration += batches
                self._rays += result.rays
                self._clock.stepped(result.rays, result.marched, result.coloured)
                self._speed.stepped(result.rays, result.loss, self._clock.seconds)
                if time.perf_counter() >= until or self._fraction() >= end:
                    return

    def _batches_until(self, end: float) -> int:
        """How many batches to take next: what the kernels want at once, and no more steps than the schedule has."""
        wanted, steps = self._kernels.batches_together, self._recipe.max_iterations
        return min(wanted, max(1, math.ceil(end * steps) - self._iteration)) if steps else wanted

    def _tell(self, stage: Stage, observer: TrainingObserver, held_out: HeldOutSample | None) -> None:
        """Measures, draws and saves what is due, and reports."""
        recipe, seconds = self._recipe, self._clock.seconds
        if held_out and seconds >= self._evaluation_due:
            self._psnr = held_out.psnr(stage.field, self._kernels, self._config)
            self._evaluation_due = seconds + recipe.evaluation_seconds
        if seconds >= self._preview_due:
            view = (self._dataset.test or self._dataset.train)[0]
            observer.preview(render_preview(stage.field, self._config, self._kernels, view))
            self._preview_due = seconds + recipe.preview_seconds
        if seconds >= self._checkpoint_due:
            observer.checkpoint(self._snapshot(stage))
            self._checkpoint_due = seconds + recipe.checkpoint_seconds
        observer.report(self._progress(stage))

    def _snapshot(self, stage: Stage) -> TrainingSnapshot:
        state = {
            "stage": self._stage_index,
            "prepared_seconds": self._prepared_seconds,
            **stage.state(),
            "generator": self._generator.get_state().numpy(),
        }
        return TrainingSnapshot(stage.grid.to("cpu"), self._iteration, self._clock.seconds, state)

    def _progress(self, stage: Stage) -> TrainingProgress:
        fraction = min(1.0, self._fraction())
        seconds = self._clock.seconds
        done = max(fraction, 1e-6)
        return TrainingProgress(
            stage="training",
            message=f"Training, stage {self._stage_index + 1} of {self._recipe.stages}"
            + (", no memory for a finer grid" if self._coarsened else ""),
            iteration=self._iteration,
            seconds=seconds,
            progress=fraction,
            eta_seconds=seconds * (1 - fraction) / done if fraction > 0.01 else None,
            rays_per_second=self._speed.rays_per_second,
            loss=self._speed.loss,
            psnr=self._psnr,
            resolution=stage.grid.resolution,
            voxels=stage.grid.active_voxels,
            rays=self._rays,
        )
