"""The training photos as one pool of pixels: rays and wanted colours for any set of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from plenoxels.cameras import Intrinsics, View
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

    def tiles(self, view: torch.Tensor, row: torch.Tensor, column: torch.Tensor, tile: int) -> torch.Tensor:
        """The pixels of square tiles.

        Args:
            view: int64 [t].
            row, column: int64 [t], of each tile's first pixel; may lie outside the picture.
            tile: pixels along a tile's side.

        Returns:
            Places inside the views, int64 [t, tile * tile]. Tiles at a picture's edge are moved inside; pictures
            smaller than a tile repeat their last pixels.
        """
        width, height = self._widths[view], self._heights[view]
        column = column.clamp(min=0).minimum((width - tile).clamp(min=0))
        row = row.clamp(min=0).minimum((height - tile).clamp(min=0))
        step = torch.arange(tile, device=self._device)
        rows = (row[:, None] + step).minimum(height[:, None] - 1)
        columns = (column[:, None] + step).minimum(width[:, None] - 1)
        inside = rows[:, :, None] * width[:, None, None] + columns[:, None, :]
        return inside.reshape(len(view), tile * tile)

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
