"""Which rays a step is trained on: tiles of pixels that can hit the field, more where the picture is still wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from plenoxels.kernels import RayBatch
from plenoxels.training.photo_cells import CellsThatHit
from plenoxels.training.photo_pool import PhotoPool
from plenoxels.training.recipe import Recipe

_REFRESH = 16  # batches between new chances
_LOOKED_AT = 0.1  # share of the pixels that must have been drawn before errors say anything
_KEPT = 0.6  # of a cell's error when a new one is seen
_MOST_CHANCE = 20.0


class RaySampler:
    """Draws tiles of pixels from the cells that can hit the field.

    A share of the draws (Recipe.error_share) goes to cells in proportion to the root of their latest mean squared
    error, the rest to all pixels alike. Otherwise most of the time would go to pixels that are right already.

    Attributes:
        pixel_count: pixels to draw from.
        rays_drawn: since the sampler was made.
    """

    def __init__(self, pool: PhotoPool, hits: CellsThatHit, recipe: Recipe) -> None:
        self._pool, self._recipe, self._photo_cells = pool, recipe, hits.photo_cells
        self._use(hits.cells)
        self._errors = torch.zeros(len(hits.cells), device=hits.cells.device)  # 0: not seen yet
        self._chances = self._counts.double().cumsum(0)
        self._drawn = torch.empty(0, dtype=torch.int64, device=hits.cells.device)
        self.rays_drawn = 0
        self._batches = self._batches_drawn = 0

    def draw(self, generator: torch.Generator, batches: int = 1) -> tuple[RayBatch, torch.Tensor, torch.Tensor]:
        """Some batches of rays, and the colours and opacities wanted of them (PhotoPool.batch).

        Tiles are in the order of what they look at, mostly from different views: their rays meet the same voxels, which
        the processor's cache then still holds.
        """
        tile, device = self._recipe.tile, self._cells.device
        tiles = max(1, self._recipe.batch_rays // tile**2) * batches
        chance = torch.rand(5, tiles, generator=generator, dtype=torch.float64).to(device)
        jitter = torch.rand(tiles * tile * tile, generator=generator).to(device)
        along = chance[0].sort().values * self._chances[-1]
        self._drawn = torch.searchsorted(self._chances, along).clamp(max=len(self._cells) - 1)
        view, place = self._photo_cells.tiles(self._cells[self._drawn], chance[1:], tile)
        self.rays_drawn += place.numel()
        self._batches_drawn = batches
        return self._pool.batch(view, place, jitter)

    def learn(self, ray_errors: torch.Tensor) -> None:
        """Takes the squared errors, float32 [n], of the batch drawn last."""
        if not self._recipe.error_share:
            return
        error = ray_errors.reshape(len(self._drawn), -1).mean(1)
        known = self._errors[self._drawn]
        # A cell that was drawn twice keeps either value; index_put on the CPU keeps the last one, the same each time.
        self._errors[self._drawn] = torch.where(known == 0, error, _KEPT * known + (1 - _KEPT) * error)
        before = self._batches // _REFRESH
        self._batches += self._batches_drawn
        if self._batches // _REFRESH > before and self.is_looked_at:
            self._refresh()

    @property
    def is_looked_at(self) -> bool:
        """Whether enough rays were drawn to have looked at every voxel: each shows in dozens of photos."""
        return self.rays_drawn >= _LOOKED_AT * self.pixel_count

    def state(self) -> dict[str, Any]:
        """What a later run needs to go on drawing as this one would: arrays and numbers."""
        return {
            "rays_drawn": self.rays_drawn,
            "sampler_batches": self._batches,
            "all_cells": self._photo_cells.count,
            "cells": self._cells.cpu().numpy(),
            "cell_errors": self._errors.cpu().numpy(),
            "cell_chances": self._chances.cpu().numpy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from an earlier run's state. That of other photos, or of another size, is left out."""
        self.rays_drawn = int(state.get("rays_drawn", self.pixel_count))
        device = self._cells.device
        cells, errors, chances = (np.asarray(state.get(name, ())) for name in ("cells", "cell_errors", "cell_chances"))
        count = self._photo_cells.count
        is_whole = cells.ndim == 1 and len(cells) > 0 and cells.shape == errors.shape == chances.shape
        if is_whole and state.get("all_cells") == count and 0 <= cells.min() <= cells.max() < count:
            self._use(torch.from_numpy(cells.astype(np.int64)).to(device))
            self._errors = torch.from_numpy(errors.astype(np.float32)).to(device)
            self._chances = torch.from_numpy(chances.astype(np.float64)).to(device)
            self._batches = int(state.get("sampler_batches", 0))

    def _use(self, cells: torch.Tensor) -> None:
        self._cells, self._counts = cells, self._photo_cells.pixels(cells)
        self.pixel_count = int(self._counts.sum())

    def _refresh(self) -> None:
        seen = self._errors > 0
        root = self._errors.sqrt()
        mean = (root * self._counts)[seen].sum() / self._counts[seen].sum()
        relative = torch.where(seen, root / mean, 1.0).clamp(max=_MOST_CHANCE)
        share = self._recipe.error_share
        self._chances = (self._counts * (1 - share + share * relative)).double().cumsum(0)
