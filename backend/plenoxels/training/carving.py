"""Where the scene is: its bounds from the cameras, and the visual hull of the photos' silhouettes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from plenoxels.cameras import View
from plenoxels.grid import VoxelGrid
from plenoxels.kernels.cpu.carving import carve_points
from plenoxels.kernels.cpu.structures import SilhouetteView


def camera_bounds(views: Sequence[View]) -> tuple[float, ...]:
    """A cube, min then max, around what all cameras look at.

    Its centre is the point nearest to all optical axes; its half edge is how far from that point the pictures see,
    for the
    median camera. Where the axes are nearly parallel the centre stays about the cameras' spread in front of them.
    """
    positions = np.stack([v.position for v in views])
    forward = -np.stack([v.camera_to_world[:3, 2] for v in views])
    spread = float(np.linalg.norm(positions - positions.mean(0), axis=1).mean()) or 1.0
    ahead = (positions + spread * forward).mean(0)
    # Least squares of the distances to the axes, drawn weakly to `ahead` so that parallel axes have an answer too.
    across = np.eye(3)[None] - forward[:, :, None] * forward[:, None, :]
    pull = 1e-3 * len(views)
    centre = np.linalg.solve(
        across.sum(0) + pull * np.eye(3), (across @ positions[:, :, None]).sum(0)[:, 0] + pull * ahead
    )
    distance = np.linalg.norm(positions - centre, axis=1)
    half_angle = [
        math.atan(0.5 * max(v.intrinsics.width / v.intrinsics.fl_x, v.intrinsics.height / v.intrinsics.fl_y))
        for v in views
    ]
    radius = float(np.median(distance * np.sin(half_angle)))
    return (*(centre - radius).tolist(), *(centre + radius).tolist())


class Silhouettes:
    """The masks of the photos that have alpha, for carving a visual hull."""

    def __init__(self, views: Sequence[View], photos: Sequence[NDArray[np.uint8]], threads: int | None = None) -> None:
        """views and their photos, uint8 [H, W, 4]; CPU threads to carve with (None: all)."""
        self._threads = threads
        self._least_views = max(1, len(views) // 10)
        tables, self._views, start = [], [], 0
        for view, photo in zip(views, photos, strict=True):
            tables.append(_summed_area_table(photo[..., 3] > 0))
            camera = view.intrinsics
            self._views.append(
                SilhouetteView(
                    world_to_camera=tuple(np.linalg.inv(view.camera_to_world)[:3].flatten().tolist()),
                    fl_x=camera.fl_x,
                    fl_y=camera.fl_y,
                    cx=camera.cx,
                    cy=camera.cy,
                    width=camera.width,
                    height=camera.height,
                    table=start,
                )
            )
            start += tables[-1].size
        self._tables = torch.from_numpy(np.concatenate([table.ravel() for table in tables]))

    def carve(self, positions: torch.Tensor, slack: float) -> torch.Tensor:
        """Which points (float32 [N, 3], world) may be part of the object: bool [N], on the points' device.

        A point stays if a tenth of the views see it, and every view that does has some of the silhouette within `slack`
        world units of it.
        """
        kept = carve_points(positions, self._views, self._tables, slack, self._least_views, self._threads)
        return kept.to(positions.device)

    def carve_voxels(self, grid: VoxelGrid, coordinates: Iterable[torch.Tensor], slack: float) -> torch.Tensor:
        """The voxels of a grid that may be part of the object, int32 [M, 3].

        Args:
            grid: says where its voxels lie; which are active does not matter.
            coordinates: integers [n, 3] each; a part at a time is looked at, so that positions take little memory.
            slack: voxel edges.
        """
        slack *= max(grid.voxel_size)
        kept = [part[self.carve(grid.world_positions(part), slack)].to(torch.int32) for part in coordinates]
        return torch.cat([torch.empty(0, 3, dtype=torch.int32, device=grid.device), *kept])


def _summed_area_table(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """int32 [H + 1, W + 1]: how many pixels are set above and left of each corner (Crow 1984)."""
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(mask, 0, dtype=np.int32), 1, out=table[1:, 1:])
    return table


def cubic_voxels(
    low: torch.Tensor, high: torch.Tensor, edge: float, divisor: int
) -> tuple[tuple[int, int, int], tuple[float, ...]]:
    """Resolution and bounds (min, then max) of cubic voxels around a box.

    Args:
        low, high: float64 [3], the box's corners, world.
        edge: of a voxel, world units.
        divisor: every side's number of voxels is a multiple of it, so that coarser grids fit the same bounds.
    """
    extent = high - low
    resolution = [divisor * max(1, math.ceil(float(e) / (edge * divisor) - 1e-6)) for e in extent]
    spare = (torch.tensor(resolution, dtype=torch.float64) * edge - extent) / 2
    return (resolution[0], resolution[1], resolution[2]), (*(low - spare).tolist(), *(high + spare).tolist())
