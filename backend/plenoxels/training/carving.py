"""Where the scene is: its bounds from the cameras, and the visual hull of the photos' silhouettes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from plenoxels.cameras import View

_DEPTH_BAND = 1.35


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

    def __init__(self, views: Sequence[View], photos: Sequence[NDArray[np.uint8]]) -> None:
        """views and their photos, uint8 [H, W, 4]."""
        self._views = list(views)
        self._masks = [torch.from_numpy(photo[..., 3] > 0) for photo in photos]

    def carve(
        self,
        positions: torch.Tensor,
        voxel_edge: float,
        slack: float,
        on_progress: Callable[[float], None] | None = None,
    ) -> torch.Tensor:
        """Which points may be part of the object: bool [N].

        A point stays if a tenth of the views see it, and every view that does has it near the silhouette (`slack`
        voxel edges).

        Args:
            positions: float32 [N, 3], world.
            voxel_edge: world units.
            slack: in voxel edges.
            on_progress: called with the share of views done.
        """
        kept, times_seen = torch.arange(len(positions)), torch.zeros(len(positions), dtype=torch.int32)
        for index, (view, mask) in enumerate(zip(self._views, self._masks, strict=True)):
            if not len(kept):
                break
            seen, inside = self._in_silhouette(view, mask, positions[kept], voxel_edge * slack)
            times_seen[kept[seen]] += 1
            kept = kept[inside | ~seen]
            if on_progress:
                on_progress((index + 1) / len(self._views))
        result = torch.zeros(len(positions), dtype=torch.bool)
        result[kept] = True
        return result & (times_seen >= max(1, len(self._views) // 10))

    @staticmethod
    def _in_silhouette(
        view: View, mask: torch.Tensor, positions: torch.Tensor, slack: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which points project into the picture, and which of those near the silhouette: bool [N] each."""
        camera = view.intrinsics
        world_to_camera = torch.from_numpy(np.linalg.inv(view.camera_to_world)[:3].astype(np.float32))
        local = positions @ world_to_camera[:, :3].T + world_to_camera[:, 3]
        depth = -local[:, 2]
        ahead = depth > 1e-6
        safe = torch.where(ahead, depth, torch.ones_like(depth))
        column = (local[:, 0] / safe * camera.fl_x + camera.cx).floor()
        row = (-local[:, 1] / safe * camera.fl_y + camera.cy).floor()
        seen = ahead & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        if not bool(seen.any()):
            return seen, seen
        place = (row.clamp(0, camera.height - 1) * camera.width + column.clamp(0, camera.width - 1)).long()
        inside = torch.zeros_like(seen)
        # What `slack` is in pixels depends on depth: a few bands of depth, each with a mask grown for its nearest
        # points.
        near, farthest = float(depth[seen].min()), float(depth[seen].max())
        while near <= farthest:
            band = torch.nonzero(seen & (depth >= near) & (depth < near * _DEPTH_BAND)).flatten()
            if len(band):
                radius = math.ceil(slack * max(camera.fl_x, camera.fl_y) / near + 0.5)
                inside[band] = _grown(mask, min(radius, max(camera.width, camera.height))).flatten()[place[band]]
            near *= _DEPTH_BAND
        return seen, inside


def _grown(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """bool [H, W]: the mask, grown by `radius` pixels along rows and columns."""
    grown = mask[None, None].to(torch.float32)
    grown = F.max_pool2d(grown, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    grown = F.max_pool2d(grown, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return grown[0, 0] > 0


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
