"""Writing a field as OpenVDB: sparse, atomically, and checked to be whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenoxels.errors import FieldFileError, NotWritable
from plenoxels.files import replacing, write_failure
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb.blocks import EDGE, INACTIVE, LARGEST_VALUE, block_runs
from plenoxels.neuralvdb.metadata import MAX_METADATA_BYTES, METADATA_KEY, FieldMetadata
from plenoxels.neuralvdb.openvdb_module import load_openvdb
from plenoxels.neuralvdb.vdb_layout import read_layout

_LARGEST_HALF = 65504.0
_SMALLEST_HALF_SCALE = 2.0**-8


def write_field(path: Path | str, grid: VoxelGrid, metadata: FieldMetadata, half_precision: bool = True) -> None:
    """Writes a field under the VDB contract. The file appears complete or not at all.

    Args:
        path: the file, ending in .vdb.
        grid: the field, on any device.
        metadata: must describe this grid (resolution, bounds, degree).
        half_precision: floats of 16 bits; a grid whose values half floats cannot say keeps 32.

    Raises:
        ValueError: the metadata does not describe the grid, or the path does not end in .vdb.
        FieldFileError: the field holds values that are not finite.
        OpenVDBMissing, DiskFull, NotWritable: as their names say; no file is left behind.
    """
    path = Path(path)
    described = (metadata.resolution, metadata.scene_bounds, metadata.sh_degree)
    if described != (grid.resolution, grid.scene_bounds, grid.sh_degree):
        raise ValueError(f"The metadata describes {described}, which is not {grid}.")
    if path.suffix != ".vdb":
        raise ValueError(f"{path} must end in .vdb.")
    entry = metadata.to_text()
    openvdb = load_openvdb()
    if not path.parent.is_dir():
        raise NotWritable(f"The folder {path.parent} does not exist.", "Create it first.")
    grids = _build_grids(openvdb, path, grid, half_precision)
    for vdb_grid in grids:
        vdb_grid.transform = _transform(openvdb, grid)
        vdb_grid.creator = metadata.generator
    with replacing(path) as temporary:
        try:
            openvdb.write(str(temporary), grids=grids, metadata={METADATA_KEY: entry})
        except (OSError, RuntimeError) as error:
            _provoke_disk_error(temporary)
            reason = error if isinstance(error, OSError) else OSError(str(error))
            raise write_failure(reason, path) from error
        _check_whole(temporary, path, len(grids))


def _build_grids(openvdb: Any, path: Path, grid: VoxelGrid, half_precision: bool) -> list[Any]:
    """The grids `density`, `sh_0` ... with exactly the field's voxels active.

    copyFromArray leaves voxels that equal the background inactive, but a field's voxel may well be 0. So values are
    copied in over an impossible background, which then becomes 0 where it shows: OpenVDB changes inactive voxels only.
    """
    layout = grid.layout
    rows = grid.rows.detach().cpu().numpy()
    columns = [np.array([layout.density]), *layout.sh_columns().numpy()]
    vdb_grids = [openvdb.FloatGrid(INACTIVE), *(openvdb.Vec3SGrid((INACTIVE,) * 3) for _ in columns[1:])]
    largest = [0.0] * len(columns)
    for run in block_runs(grid.coordinates.cpu().numpy()):
        values = rows[run.rows]
        corners = run.corners()
        for number, (vdb_grid, column) in enumerate(zip(vdb_grids, columns, strict=True)):
            chosen: NDArray[np.float32] = values[:, column]
            peak = float(np.abs(chosen).max())
            if not peak <= LARGEST_VALUE:
                raise FieldFileError(
                    f"{path} is not written: the field holds values that are not finite ({_name(number)})."
                )
            largest[number] = max(largest[number], peak)
            slab = np.full((len(corners), EDGE, EDGE, EDGE, len(column)), INACTIVE, np.float32)
            slab.reshape(-1, len(column))[run.places] = chosen
            if number == 0:
                slab = slab[..., 0]
            # Each block is C-contiguous, which copyFromArray needs and does not check.
            for block, corner in zip(slab, corners, strict=True):
                vdb_grid.copyFromArray(block, ijk=corner)
    for number, vdb_grid in enumerate(vdb_grids):
        vdb_grid.background = 0.0 if number == 0 else (0.0, 0.0, 0.0)
        vdb_grid.name = _name(number)
        vdb_grid.saveFloatAsHalf = half_precision and _fits_half(largest[number])
    vdb_grids[0].gridClass = openvdb.GridClass.FOG_VOLUME
    return vdb_grids


def _name(number: int) -> str:
    return "density" if number == 0 else f"sh_{number - 1}"


def _fits_half(largest: float) -> bool:
    """Whether half floats keep 3 digits of what matters: no overflow, and the bulk above their subnormal range."""
    return largest == 0 or _SMALLEST_HALF_SCALE <= largest <= _LARGEST_HALF


def _transform(openvdb: Any, grid: VoxelGrid) -> Any:
    """Index to world; OpenVDB takes the matrix transposed."""
    matrix = np.eye(4)
    matrix[[0, 1, 2], [0, 1, 2]] = grid.voxel_size
    matrix[3, :3] = grid.origin
    return openvdb.createLinearTransform(matrix.tolist())


def _check_whole(temporary: Path, path: Path, grids: int) -> None:
    """Finds out whether everything reached the disk: OpenVDB's writer does not notice when it is full."""
    try:
        whole = len(read_layout(temporary, MAX_METADATA_BYTES).grids) == grids
    except ValueError:
        whole = False
    if not whole:
        _provoke_disk_error(temporary)
        raise NotWritable(f"{path} could not be written as a whole.", "See whether the disk is full or was removed.")


def _provoke_disk_error(temporary: Path) -> None:
    """Repeats a failed write in a way that tells why. Raises OSError with the system's reason, if it fails again."""
    with temporary.open("ab", buffering=0) as file:
        for _ in range(16):
            if file.write(bytes(65536)) < 65536:
                file.write(bytes(65536))
