"""What a stage's voxels take in memory, and whether there is that much."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from plenoxels.errors import OutOfMemory
from plenoxels.grid import BrickCounts, RowLayout
from plenoxels.grid.brick_map import RECORD_STRIDE
from plenoxels.system_memory import MB, available_memory

# Temporary tensors, bytes per voxel, measured as the growth of a process's peak (tests/backend/test_memory.py).
_SORTING, _SORTED = 115, 52
_BUILDING = 240
_LEAST_MARGIN = 256 * MB


@dataclass(frozen=True)
class StageMemory:
    """Bytes that a stage's voxels take; photos, rays and programs not counted.

    Attributes:
        voxels: active voxels.
        grid: the rows of values and the coordinates.
        kept: a whole stage: grid, gradients, optimiser state, bricks.
        refining: at the most while the grid is made out of a coarser one; the coarser stage is there too.
        building: at the most while the stage is made around the grid.
    """

    voxels: int
    grid: int
    kept: int
    refining: int
    building: int

    @classmethod
    def of(cls, counts: BrickCounts, sh_degree: int) -> StageMemory:
        n, row = counts.voxels, 4 * RowLayout(sh_degree).width
        rows, coordinates = (n + 1) * row, 12 * n
        bricks = 4 * counts.cells + 8 * counts.records * RECORD_STRIDE + 4 * counts.places + 4 * (n + 1)
        grid, optimiser = rows + coordinates, rows + 8 * (n + 1) + 2 * (n + 1)
        kept = grid + optimiser + bricks
        # Which cells of the photos hit the voxels is found with rows of places and a second set of densities.
        hits = 64 * (n + 1) + 9 * counts.records * RECORD_STRIDE
        return cls(
            voxels=n,
            grid=grid,
            kept=kept,
            refining=coordinates + rows + max(_SORTING * n, rows + _SORTED * n),
            building=max(grid + bricks + _BUILDING * n, kept + hits),
        )


class MemoryBudget:
    """How much the voxels may take."""

    def __init__(self, device: torch.device, max_mb: float = 0.0, follows_system: bool = True) -> None:
        """Sets the limit.

        Args:
            device: where the voxels lie.
            max_mb: MB for all that StageMemory counts; 0: what is available when it is asked for, less a margin.
            follows_system: False: without `max_mb` nothing is refused beforehand.
        """
        self._device, self._max_mb, self._follows_system = device, max_mb, follows_system

    def check(self, wanted: StageMemory, resolution: tuple[int, int, int], before: StageMemory | None = None) -> None:
        """Refuses a stage that does not fit.

        Args:
            wanted: the stage to be made.
            resolution: its grid's.
            before: the coarser stage that it is made from and that goes when it comes, or None.

        Raises:
            OutOfMemory: what it needs, what there is, what to lower.
        """
        held, grid = (before.kept, before.grid) if before else (0, 0)
        peak = max(held + wanted.refining, grid + wanted.building)
        if self._max_mb:
            room, told = self._max_mb * MB, "max_memory_mb allows"
        elif self._follows_system:
            free = self._available()
            room, told = held + free - max(_LEAST_MARGIN, free // 10), "are free"
        else:
            return
        if peak > room:
            size, there_is = "x".join(map(str, resolution)), f"{max(0, room) / MB:,.0f} MB {told}"
            raise OutOfMemory(
                f"A grid of {size} with {wanted.voxels:,} voxels takes {peak / MB:,.0f} MB; {there_is}.",
                "Lower max_resolution or sh_degree"
                + (", or raise max_memory_mb." if self._max_mb else ", or close other programs."),
            )

    def _available(self) -> int:
        if self._device.type != "cuda":
            return available_memory()
        free, _ = torch.cuda.mem_get_info(self._device)
        # What torch keeps of freed tensors is there for new ones.
        spare = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return free + spare
