"""Which rays a step is trained on: tiles of pixels that can hit the field, more where the picture is still wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from plenoxels.kernels import RayBatch
from plenoxels.training.photo_pool import PhotoPool
from plenoxels.training.recipe import Recipe

_CELL = 8  # pixels along a cell's side: twice a tile's, so that a cell's error is known from a few tiles
_REFRESH = 16  # steps between new chances
_LOOKED_AT = 0.1  # share of the pixels that must have been drawn before errors say anything
_KEPT = 0.6  # of a cell's error when a new one is seen
_MOST_CHANCE = 20.0


class RaySampler:
    """Draws tiles from a set of pixels.

    Pixels are grouped into cells of 8 x 8. A share of the draws (Recipe.error_share) goes to cells in proportion to the
    root of their latest mean squared error, the rest to all pixels alike. Otherwise most of the time would go to pixels
    that are right already (Recipe.error_share says what it gave).

    Attributes:
        pixels: int64 [n], sorted by cell.
        rays_drawn: since the sampler was made.
    """

    def __init__(self, pool: PhotoPool, pixels: torch.Tensor, recipe: Recipe) -> None:
        """pixels: int64 [n], the pool's pixels to draw from."""
        cells = pool.cells(pixels, _CELL)
        order = torch.argsort(cells, stable=True)
        self.pixels = pixels[order]
        self.rays_drawn = 0
        self._pool, self._recipe = pool, recipe
        _, self._counts = torch.unique_consecutive(cells[order], return_counts=True)
        self._starts = self._counts.cumsum(0) - self._counts
        self._errors = torch.zeros(len(self._counts), device=pixels.device)  # 0: not seen yet
        self._chances = self._counts.double().cumsum(0)
        self._drawn_cells = torch.empty(0, dtype=torch.int64, device=pixels.device)
        self._steps = 0

    def draw(self, generator: torch.Generator) -> tuple[RayBatch, torch.Tensor, torch.Tensor]:
        """A batch of rays, and the colours and opacities wanted of them (PhotoPool.batch)."""
        tile, device = self._recipe.tile, self.pixels.device
        tiles = max(1, self._recipe.batch_rays // tile**2)
        chance = torch.rand(2, tiles, generator=generator, dtype=torch.float64).to(device)
        cell = torch.searchsorted(self._chances, chance[0] * self._chances[-1]).clamp(max=len(self._chances) - 1)
        inside = (chance[1] * self._counts[cell]).long()
        offset = torch.randint(tile, (tiles, 2), generator=generator).to(device)
        jitter = torch.rand(tiles * tile * tile, generator=generator).to(device)
        self._drawn_cells = cell
        self.rays_drawn += tiles * tile * tile
        return self._pool.batch(*self._pool.tiles(self.pixels[self._starts[cell] + inside], tile, offset), jitter)

    def learn(self, ray_errors: torch.Tensor) -> None:
        """Takes the squared errors, float32 [n], of the batch drawn last."""
        if not self._recipe.error_share:
            return
        error = ray_errors.reshape(len(self._drawn_cells), -1).mean(1)
        known = self._errors[self._drawn_cells]
        # A cell that was drawn twice keeps either value; index_put on the CPU keeps the last one, the same each time.
        self._errors[self._drawn_cells] = torch.where(known == 0, error, _KEPT * known + (1 - _KEPT) * error)
        self._steps += 1
        if self._steps % _REFRESH == 0 and self.is_looked_at:
            self._refresh()

    @property
    def is_looked_at(self) -> bool:
        """Whether enough rays were drawn to have looked at every voxel: each shows in dozens of photos."""
        return self.rays_drawn >= _LOOKED_AT * len(self.pixels)

    def state(self) -> dict[str, Any]:
        """What a later run needs to go on drawing as this one would: arrays and numbers."""
        return {
            "rays_drawn": self.rays_drawn,
            "sampler_steps": self._steps,
            "cell_errors": self._errors.cpu().numpy(),
            "cell_chances": self._chances.cpu().numpy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from an earlier run's state. Errors of other cells (other photos, another size) are left out."""
        self.rays_drawn = int(state.get("rays_drawn", len(self.pixels)))
        errors, chances = (np.asarray(state.get(name, ())) for name in ("cell_errors", "cell_chances"))
        if errors.shape == chances.shape == tuple(self._errors.shape):
            self._errors, self._chances = (
                torch.from_numpy(new).to(old) for new, old in ((errors, self._errors), (chances, self._chances))
            )
            self._steps = int(state.get("sampler_steps", 0))

    def _refresh(self) -> None:
        seen = self._errors > 0
        root = self._errors.sqrt()
        mean = (root * self._counts)[seen].sum() / self._counts[seen].sum()
        relative = torch.where(seen, root / mean, 1.0).clamp(max=_MOST_CHANCE)
        share = self._recipe.error_share
        self._chances = (self._counts * (1 - share + share * relative)).double().cumsum(0)
