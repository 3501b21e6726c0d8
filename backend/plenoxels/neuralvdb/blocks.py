"""Voxels by blocks of 8^3, OpenVDB's leaf nodes: the unit in which values cross without a dense buffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGE = 8
VOLUME = EDGE**3
# No value of a field comes near it, so it can mark inactive voxels while values cross (see `vdb_writer`).
INACTIVE = float(np.float32(-3.0e38))
LARGEST_VALUE = 1e30


@dataclass(frozen=True, eq=False)
class BlockRun:
    """Some consecutive blocks and their voxels.

    Attributes:
        origins: int64 [B, 3], first index of each block, multiples of 8.
        rows: int64 [M], which voxels (rows of the grid) they hold.
        places: int64 [M], where each voxel lies in the flattened [B, 8, 8, 8].
    """

    origins: NDArray[np.int64]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]

    def corners(self) -> list[tuple[int, int, int]]:
        """The origins as OpenVDB takes them."""
        return [(int(x), int(y), int(z)) for x, y, z in self.origins.tolist()]


def block_runs(coordinates: NDArray[np.integer[Any]], run: int = 1024) -> Iterator[BlockRun]:
    """Sorts voxels into blocks and yields them, at most `run` blocks at a time (bounds the memory of what follows).

    Args:
        coordinates: integers [N, 3], not negative.
        run: blocks per part.
    """
    if not len(coordinates):
        return
    index = coordinates.astype(np.int64)
    block = index >> 3
    key = (block[:, 0] << 42) | (block[:, 1] << 21) | block[:, 2]
    inside = index & 7
    local = (inside[:, 0] << 6) | (inside[:, 1] << 3) | inside[:, 2]
    order = np.lexsort((local, key)) if not _is_sorted(key) else np.arange(len(key))
    key, local = key[order], local[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    number = np.cumsum(np.concatenate([[0], (key[1:] != key[:-1]).astype(np.int64)]))
    origins = block[order[starts]] * EDGE
    ends = np.append(starts, len(key))
    for first in range(0, len(starts), run):
        last = min(first + run, len(starts))
        voxels = slice(int(ends[first]), int(ends[last]))
        yield BlockRun(origins[first:last], order[voxels], (number[voxels] - first) * VOLUME + local[voxels])


def _is_sorted(key: NDArray[np.int64]) -> bool:
    return bool((key[1:] >= key[:-1]).all())
