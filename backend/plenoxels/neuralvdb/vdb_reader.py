"""Reading a field from OpenVDB: sparse, and believing nothing that was not checked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plenoxels.errors import FieldFileError
from plenoxels.grid import RowLayout, VoxelGrid
from plenoxels.neuralvdb.blocks import EDGE, INACTIVE, LARGEST_VALUE, VOLUME
from plenoxels.neuralvdb.metadata import MAX_METADATA_BYTES, METADATA_KEY, FieldMetadata
from plenoxels.neuralvdb.openvdb_module import load_openvdb
from plenoxels.neuralvdb.vdb_layout import VdbLayout, read_layout

MAX_VOXELS = 64_000_000
_FLOAT_TREE, _VECTOR_TREE = "Tree_float_5_4_3", "Tree_vec3s_5_4_3"
_SCAN_EDGE = 128
_RUN = 1024
# Walking one active voxel costs as much as scanning this many voxels of the box around them all.
_SCAN_PER_WALKED = 200


def read_metadata(path: Path | str) -> FieldMetadata:
    """What a field's file says about it; reads a few kilobytes and needs no OpenVDB.

    Raises:
        FieldFileError: the file is missing, cut off, foreign, or its metadata is at fault.
    """
    path = Path(path)
    return _metadata(path, _layout(path))


def read_field(path: Path | str, max_voxels: int = MAX_VOXELS) -> tuple[VoxelGrid, FieldMetadata]:
    """Reads a field that was written under the VDB contract.

    Args:
        path: the file.
        max_voxels: refuse more active voxels than this (a row of degree 2 takes 128 bytes).

    Returns:
        The field, on the CPU, its rows in order of 8^3 blocks; and its metadata.

    Raises:
        FieldFileError: missing, cut off, foreign, or at odds with its own metadata; names the path and the grid.
        OpenVDBMissing: there is no OpenVDB module.
    """
    path = Path(path)
    layout = _layout(path)
    metadata = _metadata(path, layout)
    _check_grids(path, layout, metadata)
    openvdb = load_openvdb()
    density = _FileGrid(openvdb, path, "density", metadata, max_voxels)
    blocks, places = density.active_blocks()
    coordinates = _coordinates(blocks, places)
    rows_layout = RowLayout(metadata.sh_degree)
    rows = np.zeros((len(coordinates), rows_layout.width), np.float32)
    density.copy_values(blocks, places, rows, np.array([rows_layout.density]))
    active = density.active_voxels
    del density
    for number, columns in enumerate(rows_layout.sh_columns().numpy()):
        grid = _FileGrid(openvdb, path, f"sh_{number}", metadata, max_voxels)
        if grid.active_voxels != active:
            raise _fault(path, f"the grid 'sh_{number}' has {grid.active_voxels:,} active voxels, 'density' {active:,}")
        grid.copy_values(blocks, places, rows, columns)
        del grid
    field = VoxelGrid(metadata.resolution, metadata.scene_bounds, metadata.sh_degree)
    field.set_rows(torch.from_numpy(coordinates), torch.from_numpy(rows))
    return field, metadata


class _FileGrid:
    """One grid of a file, checked, with its inactive voxels marked by an impossible value."""

    def __init__(self, openvdb: Any, path: Path, name: str, metadata: FieldMetadata, max_voxels: int) -> None:
        self._path, self._name = path, name
        try:
            self._grid = openvdb.read(str(path), name)
        except MemoryError as error:  # a damaged length asks for any amount
            reason = f"the grid '{name}' takes more memory than there is; it is too large, or damaged"
            raise _fault(path, reason) from error
        except Exception as error:  # a C++ library raises what it likes for damaged files
            raise _fault(path, f"the grid '{name}' cannot be read ({_short(error)})") from error
        self._vector = name != "density"
        self._check_transform(metadata)
        self.active_voxels = int(self._grid.activeVoxelCount())
        if self.active_voxels > max_voxels:
            raise _fault(
                path, f"the grid '{name}' has {self.active_voxels:,} active voxels; at most {max_voxels:,} are read"
            )
        self.low, self.high = (np.array(corner) for corner in self._grid.evalActiveVoxelBoundingBox())
        if self.active_voxels and ((self.low < 0).any() or (self.high >= metadata.resolution).any()):
            resolution = "x".join(map(str, metadata.resolution))
            raise _fault(path, f"the grid '{name}' has active voxels outside its resolution {resolution}")
        background = self._grid.background if self._vector else (self._grid.background,)
        if any(value != 0 for value in background):
            raise _fault(path, f"the grid '{name}' has a background that is not 0")
        # Only inactive voxels change with the background: from here on they can be told from active zeros.
        self._grid.background = (INACTIVE,) * 3 if self._vector else INACTIVE

    def active_blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Origins [B, 3] of the 8^3 blocks with active voxels, and their places in the flattened [B, 8, 8, 8]."""
        if not self.active_voxels:
            return np.empty((0, 3), np.int64), np.empty(0, np.int64)
        volume = float(np.prod((self.high - self.low + 1).astype(np.float64)))
        is_sparse = volume > _SCAN_PER_WALKED * self.active_voxels
        origins = self._walked_blocks() if is_sparse else self._scanned_blocks()
        mask = np.empty((len(origins), EDGE, EDGE, EDGE), np.bool_)
        buffer = np.empty((EDGE, EDGE, EDGE), np.float32)
        for block, (x, y, z) in zip(mask, origins.tolist(), strict=True):
            self._grid.copyToArray(buffer, ijk=(x, y, z))
            np.not_equal(buffer, np.float32(INACTIVE), out=block)
        places = np.flatnonzero(mask)
        if len(places) != self.active_voxels:
            raise _fault(self._path, f"the grid '{self._name}' has inactive voxels whose value is not 0")
        return origins, places

    def copy_values(
        self,
        origins: NDArray[np.int64],
        places: NDArray[np.int64],
        rows: NDArray[np.float32],
        columns: NDArray[np.int64],
    ) -> None:
        """Copies the values of the voxels at `places` of the blocks into `columns` of `rows`, in the same order."""
        channels = (3,) if self._vector else ()
        for start in range(0, len(origins), _RUN):
            part = slice(start, start + _RUN)
            slab = np.empty((len(origins[part]), EDGE, EDGE, EDGE, *channels), np.float32)
            for block, (x, y, z) in zip(slab, origins[part].tolist(), strict=True):
                self._grid.copyToArray(block, ijk=(x, y, z))
            first, last = np.searchsorted(places, (start * VOLUME, (start + _RUN) * VOLUME))
            values = slab.reshape(-1, len(columns)).take(places[first:last] - start * VOLUME, axis=0)
            # NaN fails every comparison, hence the `not`.
            if values.size and not float(np.abs(values).max()) <= LARGEST_VALUE:
                if (values == np.float32(INACTIVE)).any():
                    raise _fault(self._path, f"the grid '{self._name}' has other active voxels than 'density'")
                raise _fault(self._path, f"the grid '{self._name}' holds values that are not finite")
            for channel, column in enumerate(columns):
                rows[first:last, column] = values[:, channel]

    def _check_transform(self, metadata: FieldMetadata) -> None:
        transform = self._grid.transform
        if not transform.isLinear:
            raise _fault(self._path, f"the grid '{self._name}' has a transform that is not linear")
        corner = np.array(transform.indexToWorld((0, 0, 0)))
        edges = np.array([transform.indexToWorld(tuple(row)) for row in np.eye(3)]) - corner
        size = np.array(metadata.voxel_size)
        far = np.array(transform.indexToWorld(metadata.resolution)) - corner
        good = (
            np.isfinite(edges).all()
            and np.allclose(corner, metadata.origin, rtol=1e-9, atol=1e-4 * size.min())
            and np.allclose(edges, np.diag(size), rtol=1e-4, atol=1e-4 * size.min())
            and np.allclose(far, size * metadata.resolution, rtol=1e-5)
        )
        if not good:
            raise _fault(
                self._path,
                f"the transform of the grid '{self._name}' (first voxel at {_numbers(corner)}, voxel size "
                f"{_numbers(np.diag(edges))}) is not that of its metadata ({_numbers(metadata.origin)}, "
                f"{_numbers(size)})",
            )

    def _scanned_blocks(self) -> NDArray[np.int64]:
        """Blocks with active voxels, found by copying out cubes of the bounding box."""
        low = self.low // _SCAN_EDGE * _SCAN_EDGE
        cube = np.empty((_SCAN_EDGE,) * 3, np.float32)
        per_cube = _SCAN_EDGE // EDGE
        found = []
        for x in range(int(low[0]), int(self.high[0]) + 1, _SCAN_EDGE):
            for y in range(int(low[1]), int(self.high[1]) + 1, _SCAN_EDGE):
                for z in range(int(low[2]), int(self.high[2]) + 1, _SCAN_EDGE):
                    self._grid.copyToArray(cube, ijk=(x, y, z))
                    active = cube != np.float32(INACTIVE)
                    blocks = active.reshape(per_cube, EDGE, per_cube, EDGE, per_cube, EDGE).any(axis=(1, 3, 5))
                    found.append(np.argwhere(blocks) * EDGE + (x, y, z))
        return np.concatenate(found).astype(np.int64)

    def _walked_blocks(self) -> NDArray[np.int64]:
        """The same for few voxels far apart, found by walking over the active values (tiles count as boxes)."""
        blocks: set[tuple[int, int, int]] = set()
        for value in self._grid.citerOnValues():
            (x, y, z), last = value.min, value.max
            if (x, y, z) == last:
                blocks.add((x >> 3, y >> 3, z >> 3))
            else:
                spans = [range(a >> 3, (b >> 3) + 1) for a, b in zip((x, y, z), last, strict=True)]
                blocks.update((i, j, k) for i in spans[0] for j in spans[1] for k in spans[2])
        return np.array(sorted(blocks), np.int64) * EDGE


def _coordinates(origins: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int32]:
    """Indices [N, 3] of the voxels at `places` of the blocks, in the same order."""
    block, place = np.divmod(places, VOLUME)
    inside = np.stack([place >> 6, (place >> 3) & 7, place & 7], axis=1)
    return (origins[block] + inside).astype(np.int32)


def _layout(path: Path) -> VdbLayout:
    try:
        return read_layout(path, MAX_METADATA_BYTES)
    except FileNotFoundError:
        raise FieldFileError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise _fault(path, error.strerror if isinstance(error, OSError) and error.strerror else str(error)) from None


def _metadata(path: Path, layout: VdbLayout) -> FieldMetadata:
    if METADATA_KEY not in layout.metadata:
        grids = ", ".join(f"'{grid.name}'" for grid in layout.grids[:5]) or "no grids"
        more = ", ..." if len(layout.grids) > 5 else ""
        raise FieldFileError(
            f"{path} holds no radiance field: it has {grids}{more}, but no metadata '{METADATA_KEY}'.",
            "Give a field.vdb or checkpoint that plenoxels wrote.",
        )
    try:
        return FieldMetadata.from_text(layout.metadata[METADATA_KEY])
    except ValueError as error:
        raise _fault(path, f"in its metadata, {error}") from None


def _check_grids(path: Path, layout: VdbLayout, metadata: FieldMetadata) -> None:
    """The grids that the degree asks for, once each and of the right kind; grids of other names are left alone."""
    count = (metadata.sh_degree + 1) ** 2
    wanted = {"density": _FLOAT_TREE, **{f"sh_{k}": _VECTOR_TREE for k in range(count)}}
    names = Counter(grid.name for grid in layout.grids)
    for name, tree in wanted.items():
        if names[name] != 1:
            reason = "is missing" if not names[name] else f"is there {names[name]} times"
            raise _fault(path, f"the grid '{name}' {reason} (degree {metadata.sh_degree} has {count} grids sh_k)")
        found = next(grid.tree for grid in layout.grids if grid.name == name)
        if found != tree:
            raise _fault(path, f"the grid '{name}' is a {found}, not a {tree}")
    beyond = next((name for name in names if name.startswith("sh_") and name not in wanted), None)
    if beyond is not None:
        raise _fault(path, f"the grid '{beyond}' does not fit its degree {metadata.sh_degree}")


def _fault(path: Path, reason: str) -> FieldFileError:
    return FieldFileError(f"{path} cannot be read as a field: {reason}.")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _numbers(values: Any) -> str:
    return " ".join(f"{float(value):.6g}" for value in values)
