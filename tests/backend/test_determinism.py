"""`--deterministic`: the same bits in another process, after an interruption, and from kernels on several threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from plenoxels.__main__ import main
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.datasets import open_dataset
from plenoxels.errors import DeviceMissing
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import Adding, Field, GradientBuffers, open_kernels
from plenoxels.kernels.cpu.kernels import CpuKernels
from plenoxels.neuralvdb import load_checkpoint
from plenoxels.neuralvdb.checkpoint import save_checkpoint
from plenoxels.neuralvdb.metadata import FieldMetadata, TrainingRecord
from plenoxels.training import Recipe, SilentObserver, Trainer, TrainingSnapshot
from random_fields import exact_settings, random_grid, random_rays
from small_scene import write_small_scene

BACKEND = Path(__file__).parents[2] / "backend"
QUICK = {"max_iterations": 90, "max_resolution": 32, "stages": 2, "batch_rays": 2048, "hull_resolution": 32}
CONFIG = PlenoxelConfig(sh_degree=1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("scene"))


def _train_in_a_process(scene: Path, folder: Path, threads: int, seed: int) -> bytes:
    settings = [f"--set={name}={value}" for name, value in {**QUICK, "sh_degree": 1}.items()]
    options = ["--preset", "draft", "--threads", str(threads), "--seed", str(seed), "--deterministic", "--levels", "0"]
    command = [sys.executable, "-m", "plenoxels", "train", str(scene), "--output", str(folder), *options, *settings]
    environment = {**os.environ, "PYTHONPATH": str(BACKEND)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    grid, _, state = load_checkpoint(folder / "checkpoints" / f"checkpoint_{QUICK['max_iterations']:06d}.vdb")
    assert state is not None
    return grid.coordinates.numpy().tobytes() + grid.rows.numpy().tobytes() + state["mean_square"].tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_two_processes_train_the_same_bits(scene: Path, tmp_path: Path, threads: int) -> None:
    first = _train_in_a_process(scene, tmp_path / "first", threads, seed=7)
    assert _train_in_a_process(scene, tmp_path / "second", threads, seed=7) == first
    if threads == 2:
        assert _train_in_a_process(scene, tmp_path / "other", threads, seed=8) != first


class _StopAt(SilentObserver):
    """Stops as soon as so many steps are done."""

    def __init__(self, iteration: int) -> None:
        self._iteration, self._seen = iteration, 0

    def report(self, progress) -> None:
        self._seen = progress.iteration

    def should_stop(self) -> bool:
        return self._seen >= self._iteration


@pytest.mark.parametrize("stop", [20, 70])
def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(scene, tmp_path, monkeypatch, stop) -> None:
    """Stopped in either stage, wherever its report fell, and resumed from the files of a checkpoint."""
    monkeypatch.setattr("plenoxels.training.trainer._REPORT_SECONDS", 0.0)
    recipe = Recipe.preset("draft").with_overrides({**QUICK, "last_stage_share": 0.5, "deterministic": True})
    dataset = open_dataset(scene)

    def train(observer: SilentObserver, resume: TrainingSnapshot | None = None):
        return Trainer(dataset, CONFIG, recipe, device="cpu", threads=2).run(observer, resume)

    whole = train(SilentObserver())
    part = train(_StopAt(stop))
    assert (part.iterations, part.cancelled) == (stop, True)
    snapshot = part.snapshot
    metadata = FieldMetadata.of(snapshot.grid, CONFIG, TrainingRecord(stop, part.seconds, "scene", None))
    assert snapshot.state is not None
    path = save_checkpoint(tmp_path, stop, snapshot.grid, metadata, snapshot.state)
    grid, _, state = load_checkpoint(path)
    resumed = train(SilentObserver(), TrainingSnapshot(grid, stop, part.seconds, state))
    assert torch.equal(resumed.grid.coordinates, whole.grid.coordinates)
    assert torch.equal(resumed.grid.rows, whole.grid.rows)
    assert resumed.iterations == whole.iterations


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_have_the_bits_of_one_thread(degree: int) -> None:
    grid = random_grid(degree, (33, 30, 41), seed=degree)
    settings = exact_settings(grid, Compositing.LINEAR)
    rays, targets = random_rays(grid, 3000, seed=1, jitter=True), torch.rand(3000, 3)

    def gradients(kernels: CpuKernels) -> tuple[GradientBuffers, int]:
        buffers, field = GradientBuffers.for_grid(grid), Field.of(grid)
        coloured = kernels.loss_gradients(field, rays, targets, settings, buffers).coloured
        kernels.pixel_gradients(field, rays, targets - 0.5, settings, buffers)
        kernels.total_variation(field, buffers, grid.active_voxels - 1000, 6000, 0.3, 0.7)
        return buffers, coloured

    one, coloured = gradients(CpuKernels(1))
    for threads in (2, 3, 70):
        several, coloured_there = gradients(CpuKernels(threads, Adding.ORDERED))
        assert torch.equal(one.rows, several.rows)
        assert torch.equal(one.visibility, several.visibility)
        assert coloured == coloured_there


def test_a_ray_with_more_samples_than_a_block_holds(monkeypatch) -> None:
    monkeypatch.setattr("plenoxels.kernels.cpu.ordered._CONTRIBUTIONS", 1)  # then the longest ray's samples fill one
    grid = VoxelGrid.from_voxels(
        (64, 8, 8), (0, 0, 0, 8, 1, 1), torch.cartesian_prod(torch.arange(64), *[torch.arange(8)] * 2),
        torch.full((4096,), 0.2), torch.rand(4096, 1, 3),
    )  # fmt: skip
    rays, targets = random_rays(grid, 500, seed=2), torch.rand(500, 3)
    buffers = []
    for kernels in (CpuKernels(1), CpuKernels(2, Adding.ORDERED)):
        buffers.append(GradientBuffers.for_grid(grid))
        kernels.loss_gradients(Field.of(grid), rays, targets, exact_settings(grid, Compositing.LINEAR), buffers[-1])
    assert buffers[0].rows.any()
    assert torch.equal(buffers[0].rows, buffers[1].rows)


def test_what_cannot_be_deterministic_is_refused(scene: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(ValueError, match=r"cannot follow the clock.*max_iterations=2000"):
        Recipe(deterministic=True)
    arguments = ["train", str(scene), "--output", str(tmp_path / "job"), "--deterministic", "--max-seconds", "20"]
    assert main(arguments) == 2
    assert "give the number of its steps too" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()
    with pytest.raises(DeviceMissing, match=r"same bits each time.*--device cpu"):
        open_kernels("cuda", adding=Adding.ORDERED)
    assert open_kernels("auto", 1, Adding.ORDERED).device.type == "cpu"
