"""Fields through OpenVDB files and back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plenoxels.errors import DiskFull, FieldFileError, NotWritable
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb import FieldMetadata, read_field, read_metadata, write_field
from plenoxels.neuralvdb.blocks import block_runs
from plenoxels.neuralvdb.openvdb_module import load_openvdb
from stored_fields import make_grid, metadata_of

openvdb = load_openvdb()


def assert_same(a: VoxelGrid, b: VoxelGrid, half: bool = False) -> None:
    assert (a.resolution, a.scene_bounds, a.sh_degree) == (b.resolution, b.scene_bounds, b.sh_degree)
    assert torch.equal(a.coordinates, b.coordinates)
    rows = a.rows.to(torch.float16).to(torch.float32) if half else a.rows
    assert torch.equal(rows, b.rows)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    resolution=st.tuples(*[st.integers(1, 40)] * 3),
    degree=st.integers(0, 3),
    occupancy=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    half=st.booleans(),
)
def test_round_trip_is_exact(tmp_path: Path, seed, resolution, degree, occupancy, half) -> None:
    grid = make_grid(seed, resolution, degree, occupancy)
    path = tmp_path / "field.vdb"
    write_field(path, grid, metadata_of(grid), half_precision=half)
    back, metadata = read_field(path)
    assert_same(grid, back, half)
    assert metadata == metadata_of(grid)
    assert [p.name for p in tmp_path.iterdir()] == ["field.vdb"]


def test_the_file_is_what_the_contract_says(tmp_path: Path) -> None:
    grid = make_grid(1, degree=1)
    write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    grids, metadata = openvdb.readAll(str(tmp_path / "f.vdb"))
    assert [g.name for g in grids] == ["density", "sh_0", "sh_1", "sh_2", "sh_3"]
    assert [type(g).__name__ for g in grids] == ["FloatGrid"] + ["Vec3SGrid"] * 4
    assert grids[0].gridClass == openvdb.GridClass.FOG_VOLUME
    assert all(g.saveFloatAsHalf for g in grids)
    assert list(metadata) == ["plenoxel"]
    for g in grids:
        assert g.activeVoxelCount() == grid.active_voxels
        assert g.background == (0.0 if g.name == "density" else (0.0, 0.0, 0.0))
        np.testing.assert_allclose(g.transform.indexToWorld((0, 0, 0)), grid.origin, rtol=1e-12)
        np.testing.assert_allclose(g.transform.voxelSize(), grid.voxel_size, rtol=1e-12)
    accessor = grids[0].getConstAccessor()
    for (i, j, k), value in list(zip(grid.coordinates.tolist(), grid.density.tolist(), strict=True))[::37]:
        stored, active = accessor.probeValue((i, j, k))
        assert active
        assert stored == pytest.approx(value, rel=1e-3)
    inactive = set(np.ndindex(*grid.resolution)) - set(map(tuple, grid.coordinates.tolist()))
    assert all(accessor.probeValue(index) == (0.0, False) for index in list(inactive)[:200])


def test_half_floats_are_smaller_and_left_out_where_they_would_lie(tmp_path: Path) -> None:
    grid = make_grid(2)
    write_field(tmp_path / "half.vdb", grid, metadata_of(grid))
    write_field(tmp_path / "full.vdb", grid, metadata_of(grid), half_precision=False)
    assert (tmp_path / "half.vdb").stat().st_size < 0.75 * (tmp_path / "full.vdb").stat().st_size
    for scale in (1e5, 1e-6):  # beyond the largest half float; in their coarse subnormal range
        scaled = make_grid(2)
        scaled.rows[:, scaled.layout.density] *= scale
        write_field(tmp_path / "scaled.vdb", scaled, metadata_of(scaled))
        assert torch.equal(read_field(tmp_path / "scaled.vdb")[0].density, scaled.density)


def test_few_voxels_in_a_huge_grid(tmp_path: Path) -> None:
    coordinates = torch.tensor([[0, 0, 0], [4095, 4095, 4095], [2000, 17, 3999]])
    grid = VoxelGrid.from_voxels((4096,) * 3, (0, 0, 0, 1, 1, 1), coordinates, torch.ones(3), torch.zeros(3, 1, 3))
    write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    begin = time.perf_counter()
    assert_same(grid, read_field(tmp_path / "f.vdb")[0])
    assert time.perf_counter() - begin < 2


def test_pruned_files_of_other_tools_are_read(tmp_path: Path) -> None:
    """Constant blocks become tiles when a tool prunes a file; they are the same field."""
    index = torch.cartesian_prod(*[torch.arange(32)] * 3)
    grid = VoxelGrid.from_voxels(
        (40,) * 3, (0, 0, 0, 1, 1, 1), index, torch.ones(len(index)), torch.ones(len(index), 1, 3)
    )
    write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    grids, metadata = openvdb.readAll(str(tmp_path / "f.vdb"))
    for g in grids:
        g.prune(0.0 if g.name == "density" else (0.0, 0.0, 0.0))
    assert grids[0].leafCount() == 0
    openvdb.write(str(tmp_path / "pruned.vdb"), grids=grids, metadata=metadata)
    assert_same(grid, read_field(tmp_path / "pruned.vdb")[0])


def test_metadata_reads_without_voxels_and_keeps_unknown_keys(tmp_path: Path) -> None:
    grid = make_grid(3)
    metadata = metadata_of(grid)
    metadata = FieldMetadata.from_json({**metadata.to_json(), "future": {"a": [1, None]}})
    write_field(tmp_path / "f.vdb", grid, metadata)
    assert read_metadata(tmp_path / "f.vdb") == metadata
    assert read_metadata(tmp_path / "f.vdb").extra == {"future": {"a": [1, None]}}


def test_blocks_hold_every_voxel_once() -> None:
    coordinates = np.random.default_rng(0).permutation(np.argwhere(np.ones((20, 9, 17))))
    seen = []
    for run in block_runs(coordinates, run=3):
        assert len(run.origins) <= 3
        block, place = np.divmod(run.places, 512)
        inside = np.stack([place // 64, place // 8 % 8, place % 8], axis=1)
        np.testing.assert_array_equal(run.origins[block] + inside, coordinates[run.rows])
        seen.append(run.rows)
    assert sorted(np.concatenate(seen)) == list(range(len(coordinates)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e31])
def test_values_that_are_not_finite_are_not_written(tmp_path: Path, value: float) -> None:
    grid = make_grid(4)
    grid.rows[7, 3] = value
    with pytest.raises(FieldFileError, match="not finite"):
        write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    assert not list(tmp_path.iterdir())


def test_metadata_must_describe_the_grid(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metadata describes"):
        write_field(tmp_path / "f.vdb", make_grid(1), metadata_of(make_grid(1, degree=1)))
    with pytest.raises(ValueError, match=r"must end in \.vdb"):
        write_field(tmp_path / "f.bin", make_grid(1), metadata_of(make_grid(1)))


def test_missing_folder_and_read_only_target(tmp_path: Path) -> None:
    grid = make_grid(1)
    with pytest.raises(NotWritable, match="does not exist"):
        write_field(tmp_path / "none" / "f.vdb", grid, metadata_of(grid))
    (tmp_path / "f.vdb").mkdir()
    with pytest.raises(NotWritable, match=r"f\.vdb"):
        write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    assert [p.name for p in tmp_path.iterdir()] == ["f.vdb"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit for a process")
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_full_disk_is_noticed(tmp_path: Path, share: float) -> None:
    """OpenVDB's writer ignores it. A limit on file sizes stands for the disk."""
    import resource

    grid = make_grid(5, (40, 40, 40))
    path = tmp_path / "f.vdb"
    write_field(path, grid, metadata_of(grid))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(len(before) * share), hard))
    try:
        with pytest.raises(DiskFull, match=r"no space left for .*f\.vdb"):
            write_field(path, grid, metadata_of(grid))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f.vdb"]


_WRITE_FOREVER = """
import sys
from pathlib import Path
import torch
from plenoxels.config import PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb import FieldMetadata, write_field
c = torch.nonzero(torch.rand(40, 40, 40) < 0.3)
g = VoxelGrid.from_voxels((40, 40, 40), (0, 0, 0, 1, 1, 1), c, torch.rand(len(c)), torch.rand(len(c), 4, 3))
m = FieldMetadata.of(g, PlenoxelConfig())
print("ready", flush=True)
while True:
    write_field(Path(sys.argv[1]), g, m)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f.vdb"
    random = np.random.default_rng(0)
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", _WRITE_FOREVER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        for _ in range(3):
            time.sleep(random.uniform(0.01, 0.2))
            if path.exists():
                read_metadata(path)
        while not path.exists():  # on a busy machine the very first file may take longer
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        grid, _ = read_field(path)
        assert grid.active_voxels > 10_000
