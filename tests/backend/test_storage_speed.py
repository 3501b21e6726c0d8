"""How long a million voxels take: `pytest tests/backend/test_storage_speed.py -s` prints the figures."""

import time
from pathlib import Path

import pytest
import torch
from plenoxels.config import PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb import FieldMetadata, coarser, read_field, read_metadata, write_field

# The goal is 3 s each on a quiet machine; the limit leaves room for a busy one.
LIMIT_SECONDS = 15.0


@pytest.mark.slow
def test_a_million_voxels(tmp_path: Path) -> None:
    axis = torch.linspace(-1, 1, 256)
    radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    coordinates = torch.nonzero((radius - 0.75).abs() < 0.034)
    count = len(coordinates)
    assert 950_000 < count < 1_050_000
    density, sh = torch.rand(count) * 50, torch.randn(count, 9, 3) * 0.3
    grid = VoxelGrid.from_voxels((256,) * 3, (-1, -1, -1, 1, 1, 1), coordinates, density, sh)
    metadata = FieldMetadata.of(grid, PlenoxelConfig())
    for half in (True, False):
        path = tmp_path / "f.vdb"
        times = {}
        for name, work in (
            ("write", lambda path=path, half=half: write_field(path, grid, metadata, half)),
            ("read", lambda path=path: read_field(path)),
            ("read metadata", lambda path=path: read_metadata(path)),
            ("coarser", lambda: coarser(grid)),
        ):
            begin = time.perf_counter()
            work()
            times[name] = time.perf_counter() - begin
        figures = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in times.items())
        print(f"\n{count:,} voxels, {16 if half else 32}-bit, {path.stat().st_size / 1e6:.0f} MB: {figures}")
        assert max(times.values()) < LIMIT_SECONDS
        assert times["read metadata"] < 0.1
