"""Checkpoints: exact, whole or not there, never pickled, never lost."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from plenoxels.errors import DiskFull, FolderInUse, ResumeInvalid
from plenoxels.neuralvdb import load_checkpoint, save_checkpoint, write_field
from plenoxels.neuralvdb.checkpoint import checkpoint_path, remove_older
from stored_fields import make_grid, metadata_of

STATE = {"stage": 2, "rate": 0.125, "name": "größe", "ends": [0.1, 0.3], "nothing": None, "big": np.float32(1.5)}


def save(folder: Path, iteration: int = 120, seed: int = 0) -> Path:
    grid = make_grid(seed)
    rows = np.random.default_rng(seed).normal(size=(grid.active_voxels, 32)).astype(np.float32)
    state = {**STATE, "mean_square": rows, "generator": np.arange(7, dtype=np.uint8)}
    return save_checkpoint(folder, iteration, grid, metadata_of(grid), state)


def test_everything_comes_back_bit_by_bit(tmp_path: Path) -> None:
    path = save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint_000120.npz", "checkpoint_000120.vdb"]
    grid, metadata, state = load_checkpoint(path)
    assert torch.equal(grid.rows, make_grid(0).rows)
    assert metadata == metadata_of(make_grid(0))
    assert state is not None
    assert {name: state[name] for name in STATE} == STATE
    expected = np.random.default_rng(0).normal(size=(grid.active_voxels, 32)).astype(np.float32)
    np.testing.assert_array_equal(state["mean_square"], expected)
    assert state["generator"].dtype == np.uint8


def test_rows_saved_in_another_order_are_brought_into_the_grids(tmp_path: Path) -> None:
    path = save(tmp_path)
    beside = path.with_suffix(".npz")
    with np.load(beside) as data:
        arrays = dict(data)
    order = np.random.default_rng(1).permutation(len(arrays["coordinates"]))
    arrays["coordinates"] = arrays["coordinates"][order]
    arrays["array_mean_square"] = arrays["array_mean_square"][order]
    np.savez(beside, **arrays)
    grid, _, state = load_checkpoint(path)
    assert state is not None
    expected = np.random.default_rng(0).normal(size=(grid.active_voxels, 32)).astype(np.float32)
    np.testing.assert_array_equal(state["mean_square"], expected)
    np.testing.assert_array_equal(state["generator"], np.arange(7))


def test_a_field_alone_has_no_state(tmp_path: Path) -> None:
    grid = make_grid(1)
    write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    assert load_checkpoint(tmp_path / "f.vdb").state is None


def test_a_state_of_other_voxels_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    other = save(tmp_path, 121, seed=5)
    other.with_suffix(".npz").replace(path.with_suffix(".npz"))
    with pytest.raises(ResumeInvalid, match=r"belongs to other voxels than checkpoint_000120\.vdb"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 10, 1000, -30])
def test_a_damaged_state_is_refused(tmp_path: Path, keep: int) -> None:
    beside = save(tmp_path).with_suffix(".npz")
    beside.write_bytes(beside.read_bytes()[:keep])
    with pytest.raises(ResumeInvalid, match=r"checkpoint_000120\.npz cannot be read"):
        load_checkpoint(tmp_path / "checkpoint_000120.vdb")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    beside = save(tmp_path).with_suffix(".npz")
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(beside, "a") as archive:
        archive.writestr("array_bomb.npy", buffer.getvalue())
    with pytest.raises(ResumeInvalid, match="cannot be read"):
        load_checkpoint(tmp_path / "checkpoint_000120.vdb")
    assert not (tmp_path / "exploded").exists()


def test_objects_cannot_be_saved(tmp_path: Path) -> None:
    grid = make_grid(0)
    for value in (np.array([object()]), {1, 2}):
        with pytest.raises(ValueError, match="state"):
            save_checkpoint(tmp_path, 1, grid, metadata_of(grid), {"x": value})
    assert not list(tmp_path.iterdir())


def test_no_checkpoint_is_overwritten(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(FolderInUse, match="not overwritten"):
        save(tmp_path)


def test_a_missing_or_truncated_field_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ResumeInvalid, match="does not exist"):
        load_checkpoint(checkpoint_path(tmp_path, 3))
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ResumeInvalid, match="cannot be read as a field"):
        load_checkpoint(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit for a process")
@pytest.mark.parametrize("limit", [1000, 200_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, limit: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(DiskFull):
            save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_only_own_old_checkpoints_go(tmp_path: Path) -> None:
    before = save(tmp_path, 5)
    written: list[Path] = []
    for iteration in (10, 20, 30, 40):
        written = remove_older([*written, save(tmp_path, iteration)], 2, protected=[before])
    assert [path.name for path in written] == ["checkpoint_000030.vdb", "checkpoint_000040.vdb"]
    assert sorted(p.stem for p in tmp_path.glob("*.npz")) == [f"checkpoint_0000{n}" for n in ("05", "30", "40")]
    assert written == remove_older(written, 1, protected=[written[0]])


_SAVE_FOREVER = """
import itertools, sys
from pathlib import Path
import numpy as np, torch
from plenoxels.config import PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb import FieldMetadata, save_checkpoint
c = torch.nonzero(torch.rand(30, 30, 30) < 0.3)
g = VoxelGrid.from_voxels((30, 30, 30), (0, 0, 0, 1, 1, 1), c, torch.rand(len(c)), torch.rand(len(c), 4, 3))
m = FieldMetadata.of(g, PlenoxelConfig())
print("ready", flush=True)
for n in itertools.count():
    save_checkpoint(Path(sys.argv[1]), n, g, m, {"mean_square": np.ones((len(c), 16), np.float32)})
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_killed_trainer_leaves_whole_checkpoints(tmp_path: Path) -> None:
    for round_number in range(3):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        process = subprocess.Popen([sys.executable, "-c", _SAVE_FOREVER, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.3 + 0.11 * round_number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = sorted(folder.glob("checkpoint_*.vdb"))
        assert found
        for path in found[-3:]:
            assert load_checkpoint(path).state is not None
