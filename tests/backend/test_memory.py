"""Memory: stated before it is taken, bounded, and a training that goes on where it ends."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from plenoxels import system_memory
from plenoxels.__main__ import main
from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import Dataset, open_dataset
from plenoxels.errors import OutOfMemory, is_out_of_memory
from plenoxels.grid import BrickCounts, BrickMap, VoxelGrid
from plenoxels.kernels import Field, GradientBuffers
from plenoxels.neuralvdb import read_field
from plenoxels.system_memory import MB, available_memory, process_memory
from plenoxels.training import Recipe, SilentObserver, Trainer
from plenoxels.training.first_grid import _MOST_DENSE
from plenoxels.training.memory import MemoryBudget, StageMemory
from random_fields import random_grid
from small_scene import write_small_scene

BACKEND = Path(__file__).parents[2] / "backend"
QUICK = {"max_iterations": 120, "max_resolution": 32, "stages": 2, "batch_rays": 2048, "hull_resolution": 32}
CONFIG = PlenoxelConfig(sh_degree=1)


class Notes(SilentObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.messages: set[str] = set()

    def note(self, line: str) -> None:
        self.notes.append(line)

    def report(self, progress) -> None:
        self.messages.add(progress.message)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def dataset(scene: Path) -> Dataset:
    return open_dataset(scene)


def _recipe(**changes: object) -> Recipe:
    return Recipe.preset("draft").with_overrides({**QUICK, **changes})


def _train(dataset: Dataset, observer: SilentObserver, **changes: object):
    return Trainer(dataset, CONFIG, _recipe(**changes), device="cpu", threads=1).run(observer)


def _bytes(*parts: object) -> int:
    tensors = [value for part in parts for value in vars(part).values() if isinstance(value, torch.Tensor)]
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("occupancy", [0.01, 0.4, 1.0])
def test_the_estimate_is_what_the_tensors_take(degree: int, occupancy: float) -> None:
    grid = random_grid(degree, (41, 30, 52), occupancy=occupancy, seed=degree)
    shuffled = grid.coordinates[torch.randperm(grid.active_voxels)]
    memory = StageMemory.of(BrickCounts.of(shuffled), degree)
    field, gradients = Field.of(grid), GradientBuffers.for_grid(grid)
    assert memory.kept == _bytes(grid, field.bricks, gradients)
    assert memory.grid == _bytes(grid)
    assert memory.building > memory.kept
    assert memory.refining > memory.grid
    box = BrickCounts.of_box(grid.resolution)
    assert box.voxels >= memory.voxels
    if occupancy == 1.0:
        exact = dataclasses.astuple(BrickCounts.of(shuffled))
        assert all(bound >= count for bound, count in zip(dataclasses.astuple(box), exact, strict=True))
        assert StageMemory.of(box, degree).kept < 1.6 * memory.kept


def test_the_estimate_of_nothing() -> None:
    empty = VoxelGrid((8, 8, 8), (0, 0, 0, 1, 1, 1), 2)
    memory = StageMemory.of(BrickCounts.of(empty.coordinates), 2)
    assert memory.kept == _bytes(empty, BrickMap.build(empty), GradientBuffers.for_grid(empty))


_PEAKS = """
import gc, json, torch
from plenoxels.grid import BrickCounts, VoxelGrid
from plenoxels.kernels import Field
from plenoxels.training.memory import StageMemory

def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

def peak(work):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = status("VmRSS")
    result = work()
    return result, status("VmHWM") - before

def refine():
    grid = VoxelGrid((EDGE,) * 3, (0, 0, 0, 1, 1, 1), DEGREE)
    grid.set_rows(coordinates, torch.ones(len(coordinates), grid.layout.width))
    return grid

coordinates = torch.cartesian_prod(*[torch.arange(EDGE, dtype=torch.int32)] * 3)
memory = StageMemory.of(BrickCounts.of(coordinates), DEGREE)
grid, refining = peak(refine)
_, building = peak(lambda: Field.of(grid))
print(json.dumps([refining, memory.refining, building + memory.grid, memory.building]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can measure a peak anew")
@pytest.mark.parametrize("degree", [0, 2])
def test_the_estimated_peaks_hold(degree: int) -> None:
    code = _PEAKS.replace("EDGE", "112").replace("DEGREE", str(degree))
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False, cwd=BACKEND
    )
    assert run.returncode == 0, run.stderr
    refining, refining_estimate, building, building_estimate = json.loads(run.stdout)
    assert 0.3 * refining_estimate < refining < 1.1 * refining_estimate
    assert 0.3 * building_estimate < building < 1.1 * building_estimate


def test_a_bound_keeps_the_training_at_a_grid_that_fits(dataset) -> None:
    free = _train(dataset, Notes())
    assert free.coarsened is None
    observer = Notes()
    result = _train(dataset, observer, max_memory_mb=3)
    assert max(result.grid.resolution) * 2 == max(free.grid.resolution)
    assert result.grid.active_voxels > 100
    assert result.iterations == QUICK["max_iterations"]
    assert observer.notes == [result.coarsened]
    assert "takes" in result.coarsened
    assert "3 MB max_memory_mb allows. Lower max_resolution or sh_degree, or raise max_memory_mb." in result.coarsened
    assert "Training, stage 1 of 2, no memory for a finer grid" in observer.messages
    assert result.rays > 0


def _fails_at(monkeypatch, name: str, call: int, error: Exception) -> None:
    """Makes the `call`-th call of a function of training.stage fail."""
    owner, _, function = name.rpartition(".")
    target = getattr(__import__("plenoxels.training.stage", fromlist=["stage"]), owner)
    works, calls = getattr(target, function), []

    def failing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise error
        return works(*arguments)

    monkeypatch.setattr(target, function, failing)


@pytest.mark.parametrize(
    ("name", "call", "error"),
    [
        ("GradientBuffers.for_grid", 2, MemoryError("4000 MB could not be reserved")),
        ("BrickMap.build", 2, RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes")),
        ("BrickCounts.of", 1, RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    ],
)
def test_an_allocation_that_fails_ends_in_the_coarser_grid(dataset, monkeypatch, name, call, error) -> None:
    if name == "BrickMap.build":
        monkeypatch.setattr("plenoxels.training.stage.BrickMap", BrickMap, raising=False)
    if name == "BrickCounts.of":
        call = 2  # the first grid's is the first
    _fails_at(monkeypatch, name, call, error)
    observer = Notes()
    result = _train(dataset, observer)
    assert len(observer.notes) == 1
    size = "x".join(map(str, result.grid.resolution))
    assert observer.notes[0].startswith(f"The grid stays at {size}. There was not enough memory")
    assert str(error) in observer.notes[0]
    assert "Lower max_resolution" in observer.notes[0]
    assert max(result.grid.resolution) <= 16
    assert result.iterations == QUICK["max_iterations"]
    assert result.grid.active_voxels > 100
    assert np.isfinite(result.grid.rows.numpy()).all()


def test_other_failures_are_not_taken_for_memory(dataset, monkeypatch) -> None:
    _fails_at(monkeypatch, "GradientBuffers.for_grid", 2, RuntimeError("a fault of this program"))
    with pytest.raises(RuntimeError, match="a fault of this program"):
        _train(dataset, Notes())


def test_chance_does_not_decide_about_a_deterministic_field(dataset, monkeypatch) -> None:
    monkeypatch.setattr("plenoxels.training.memory.available_memory", lambda: 0)
    assert _train(dataset, Notes(), deterministic=True).coarsened is None
    assert _train(dataset, Notes(), deterministic=True, max_memory_mb=3).coarsened
    _fails_at(monkeypatch, "GradientBuffers.for_grid", 2, MemoryError("4000 MB could not be reserved"))
    with pytest.raises(MemoryError):
        _train(dataset, Notes(), deterministic=True)


def test_the_first_grid_must_fit(scene: Path, dataset, monkeypatch, tmp_path: Path, capsys) -> None:
    with pytest.raises(OutOfMemory, match=r"A grid of \d+x\d+x\d+ with .* takes .* MB; 0 MB max_memory_mb allows"):
        _train(dataset, Notes(), max_memory_mb=0.01)
    arguments = [f"--set={name}={value}" for name, value in {**QUICK, "max_memory_mb": 0.01}.items()]
    job = tmp_path / "job"
    assert main(["train", str(scene), "--output", str(job), "--device", "cpu", *arguments]) == 1
    assert json.loads((job / "status.json").read_text("utf-8"))["error"]["code"] == "out_of_memory"
    assert "Lower max_resolution or sh_degree, or raise max_memory_mb." in capsys.readouterr().err

    monkeypatch.setattr("plenoxels.training.memory.available_memory", lambda: 200 * MB)
    with pytest.raises(OutOfMemory, match=r"0 MB are free. Lower max_resolution or sh_degree, or close other programs"):
        _train(dataset, Notes())
    monkeypatch.undo()
    _fails_at(monkeypatch, "GradientBuffers.for_grid", 1, MemoryError("4000 MB could not be reserved"))
    with pytest.raises(OutOfMemory, match=r"first grid \(4000 MB could not be reserved\)"):
        _train(dataset, Notes())


def test_a_box_of_more_than_256_cubed_is_never_filled(tmp_path: Path, monkeypatch) -> None:
    assert _MOST_DENSE == 256**3
    monkeypatch.setattr("plenoxels.training.first_grid._MOST_DENSE", 20**3)
    dataset = open_dataset(write_small_scene(tmp_path, alpha=False, views=4))
    with pytest.raises(OutOfMemory, match=r"all voxels of its first grid.* too many. Raise stages, or lower max_res"):
        _train(dataset, Notes(), stages=1)


def test_a_job_writes_its_field_and_says_how_much_memory_it_took(scene: Path, tmp_path: Path, capsys) -> None:
    settings = {**QUICK, "max_memory_mb": 3, "sh_degree": 1}
    arguments = [f"--set={name}={value}" for name, value in settings.items()]
    job = tmp_path / "job"
    assert main(["train", str(scene), "--output", str(job), "--device", "cpu", "--threads", "1", *arguments]) == 0
    out = capsys.readouterr().out
    status = json.loads((job / "status.json").read_text("utf-8"))
    assert f"{status['peak_memory_mb']:,.0f} MB of memory at most: {job / 'field.vdb'}" in out.splitlines()[-1]
    assert "on a coarser grid than asked for: memory was short" in status["message"]
    assert "Lower max_resolution" in out
    events = [json.loads(line) for line in (job / "events.jsonl").read_text("utf-8").splitlines()]
    assert [event["message"][:14] for event in events if event["event"] == "note"] == ["The grid stays"]
    assert list(read_field(job / "field.vdb")[0].resolution) == status["resolution"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_bounds_what_is_available(tmp_path: Path, version: int) -> None:
    root, inner = (tmp_path / "memory", "docker/a/b") if version == 1 else (tmp_path, "user/a/b")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    if version == 2:
        names = ("memory.max", "memory.current", "inactive_file")
    outer, none = root / inner.rpartition("/")[0], str(2**63 - 4096) if version == 1 else "max"
    for folder, limit in ((root / inner, none), (outer, str(900 * MB))):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names[0]).write_text(limit)
        (folder / names[1]).write_text(str(700 * MB))
        (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {50 * MB}\n")
    membership = tmp_path / "cgroup"
    membership.write_text(f"12:cpu:/x\n{'5:memory' if version == 1 else '0:'}:/{inner}\n")
    assert min(system_memory._control_groups(membership, tmp_path)) == 250 * MB
    assert list(system_memory._control_groups(tmp_path / "nothing", tmp_path)) == []


def test_this_machine() -> None:
    held, peak = process_memory()
    assert 20 * MB < held <= peak
    assert available_memory() > 50 * MB
    MemoryBudget(torch.device("cpu")).check(StageMemory.of(BrickCounts(10, 8, 9, 12), 2), (8, 8, 8))
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory is not what this is about"))
