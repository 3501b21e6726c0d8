"""The training photos as one pool of pixels: rays and wanted colours for any set of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from plenoxels.cameras import MAX_IMAGE_EDGE, Intrinsics, View
from plenoxels.config import PlenoxelConfig
from plenoxels.datasets.background import composite_photo
from plenoxels.kernels import RayBatch
from plenoxels.render.camera_rays import pose_tensors


class PhotoPool:
    """All pixels of some views, addressed by one number each: views in order, rows from the top, columns from the left.

    Attributes:
        views: the views.
        first_pixel: int64 [views + 1], the first pixel of each view, and the number of all pixels.
    """

    def __init__(
        self,
        views: Sequence[View],
        photos: Sequence[NDArray[np.uint8]],
        config: PlenoxelConfig,
        device: torch.device | str = "cpu",
    ) -> None:
        """Composites the photos (uint8 [H, W, 4]) of the views over the config's background."""
        self.views = list(views)
        self._device = torch.device(device)
        sizes = [v.intrinsics.width * v.intrinsics.height for v in views]
        self.first_pixel = torch.tensor([0, *np.cumsum(sizes)], dtype=torch.int64, device=self._device)
        colours = [composite_photo(photo, config).reshape(-1, 3) for photo in photos]
        self._colours = torch.from_numpy(np.concatenate(colours)).to(self._device)
        self._alphas = torch.from_numpy(np.concatenate([p[..., 3].reshape(-1) for p in photos])).to(self._device)
        self._rotations, self._positions = pose_tensors(np.stack([v.camera_to_world for v in views]), self._device)
        self._widths = torch.tensor([v.intrinsics.width for v in views], device=self._device)
        self._heights = torch.tensor([v.intrinsics.height for v in views], device=self._device)
        # Views with the same camera share one table of directions.
        tables: dict[Intrinsics, int] = {}
        directions: list[NDArray[np.float32]] = []
        starts = []
        for view in views:
            if view.intrinsics not in tables:
                tables[view.intrinsics] = sum(len(d) for d in directions)
                directions.append(view.intrinsics.local_directions())
            starts.append(tables[view.intrinsics])
        self._directions = torch.from_numpy(np.concatenate(directions)).to(self._device)
        self._table_start = torch.tensor(starts, dtype=torch.int64, device=self._device)

    @property
    def pixel_count(self) -> int:
        return int(self.first_pixel[-1])

    def tiles(self, pixels: torch.Tensor, tile: int, offset: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Square tiles of pixels around given ones.

        Args:
            pixels: int64 [t], one pixel of each tile.
            tile: pixels along a tile's side.
            offset: int64 [t, 2], which column and row of its tile each pixel is, 0 to tile - 1.

        Returns:
            (view of each tile int64 [t], place of each pixel inside its view int64 [t, tile * tile]). Tiles at a
            picture's edge are
            moved inside; pictures smaller than a tile repeat their last pixels.
        """
        view = torch.searchsorted(self.first_pixel, pixels, right=True) - 1
        place = pixels - self.first_pixel[view]
        width, height = self._widths[view], self._heights[view]
        column = (place % width - offset[:, 0]).clamp(min=0).minimum((width - tile).clamp(min=0))
        row = (place // width - offset[:, 1]).clamp(min=0).minimum((height - tile).clamp(min=0))
        step = torch.arange(tile, device=self._device)
        rows = (row[:, None] + step).minimum(height[:, None] - 1)
        columns = (column[:, None] + step).minimum(width[:, None] - 1)
        inside = rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        return view, inside.reshape(len(pixels), tile * tile)

    def cells(self, pixels: torch.Tensor, edge: int) -> torch.Tensor:
        """Which square cell of `edge` x `edge` pixels each pixel (int64 [n]) lies in: int64 [n], any numbers."""
        view = torch.searchsorted(self.first_pixel, pixels, right=True) - 1
        place, width = pixels - self.first_pixel[view], self._widths[view]
        return (view * MAX_IMAGE_EDGE + place // width // edge) * MAX_IMAGE_EDGE + place % width // edge

    def batch(
        self, view: torch.Tensor, place: torch.Tensor, jitter: torch.Tensor | None = None
    ) -> tuple[RayBatch, torch.Tensor, torch.Tensor]:
        """Rays, wanted colours and wanted opacities.

        Args:
            view: int64 [t].
            place: int64 [t, k], pixels inside the views.
            jitter: float32 [t * k] or None (RayBatch).

        Returns:
            The rays, float32 [t * k, 3] sRGB-encoded colours over the background, float32 [t * k] the photos' alpha.
        """
        local = self._directions[self._table_start[view][:, None] + place]
        directions = torch.bmm(local, self._rotations[view].transpose(1, 2))
        origins = self._positions[view][:, None].expand_as(directions)
        colours = self._colours[self.first_pixel[view][:, None] + place].to(torch.float32).div_(255)
        rays = RayBatch(origins.reshape(-1, 3).contiguous(), directions.reshape(-1, 3).contiguous(), jitter)
        alphas = self._alphas[self.first_pixel[view][:, None] + place].to(torch.float32).div_(255)
        return rays, colours.reshape(-1, 3).contiguous(), alphas.reshape(-1)

    def coarse_rays(self, view: int, block: int) -> tuple[RayBatch, tuple[int, int]]:
        """Rays through the centres of one view's blocks of `block` x `block` pixels; the blocks' rows and columns."""
        height, width = int(self._heights[view]), int(self._widths[view])
        rows = torch.arange(block // 2, height + block // 2, block, device=self._device).clamp(max=height - 1)
        columns = torch.arange(block // 2, width + block // 2, block, device=self._device).clamp(max=width - 1)
        place = (rows[:, None] * width + columns).reshape(1, -1)
        rays, *_ = self.batch(torch.tensor([view], device=self._device), place)
        return rays, (len(rows), len(columns))

    def pixels_of_blocks(self, view: int, chosen: torch.Tensor, block: int) -> torch.Tensor:
        """All pixels, int64 [n], of the chosen blocks (bool [rows, columns]) and of the blocks around them."""
        height, width = int(self._heights[view]), int(self._widths[view])
        grown = F.max_pool2d(chosen[None, None].to(torch.float32), 3, stride=1, padding=1)[0, 0] > 0
        full = grown.repeat_interleave(block, 0).repeat_interleave(block, 1)[:height, :width]
        return torch.nonzero(full.flatten()).flatten() + self.first_pixel[view]
