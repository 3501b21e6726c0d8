"""One resolution's optimisation: draws rays that can hit the field, steps, regularises, prunes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from plenoxels.config import PlenoxelConfig
from plenoxels.errors import ResumeInvalid
from plenoxels.grid import BrickCounts, VoxelGrid
from plenoxels.grid.voxel_sets import children, dilate
from plenoxels.kernels import (
    Field,
    GradientBuffers,
    Kernels,
    MarchSettings,
    OpacityTargets,
    RmsPropRates,
    weight_code,
)
from plenoxels.training.carving import Silhouettes
from plenoxels.training.memory import MemoryBudget, StageMemory
from plenoxels.training.photo_cells import PhotoCells, cells_that_hit
from plenoxels.training.photo_pool import PhotoPool
from plenoxels.training.ray_sampler import RaySampler
from plenoxels.training.recipe import Recipe

_BLOCK = 1 << 20  # voxels that are carved together


@dataclass(frozen=True)
class StepResult:
    """Rays drawn; mean squared error over rays and channels, sRGB-encoded; samples marched and coloured."""

    rays: int
    loss: float
    marched: int = 0
    coloured: int = 0


class Stage:
    """The grid of one stage with everything its optimisation needs."""

    def __init__(
        self,
        grid: VoxelGrid,
        pool: PhotoPool,
        kernels: Kernels,
        config: PlenoxelConfig,
        recipe: Recipe,
        generator: torch.Generator,
        is_alpha_known: bool,
    ) -> None:
        """Prepares a stage; the optimiser starts anew. is_alpha_known: the photos' alpha says what is in front."""
        self.field = Field.of(grid)
        self.gradients = GradientBuffers.for_grid(grid)
        self._pool, self._kernels, self._recipe, self._generator = pool, kernels, recipe, generator
        self._settings = MarchSettings.of(config, grid, recipe.training_step)
        self._edge = min(grid.voxel_size)
        self._longest = max(b - a for a, b in zip(grid.scene_bounds[:3], grid.scene_bounds[3:], strict=True))
        self._opacity_weight = recipe.opacity_weight if is_alpha_known else 0.0
        self.sampler = RaySampler(pool, cells_that_hit(self.field, PhotoCells(pool), kernels), recipe)

    @property
    def grid(self) -> VoxelGrid:
        return self.field.grid

    def step(self, fraction: float, batches: int = 1) -> StepResult:
        """Learns from some batches (Kernels.train); `fraction` of the whole training is done, 0 to 1."""
        recipe, n = self._recipe, self.grid.active_voxels
        if not n or not self.sampler.pixel_count:
            return StepResult(0, 0.0)
        rays, colours, alphas = self.sampler.draw(self._generator, batches)
        opacity = OpacityTargets(alphas, self._opacity_weight) if self._opacity_weight else None
        if recipe.tv_density or recipe.tv_sh:
            count = max(1, int(n * recipe.tv_share))
            first = int(torch.randint(n, (1,), generator=self._generator))
            # Density's variation is that of a voxel's optical depth, extinction x edge: hence its gradient's factor.
            scales = recipe.tv_density * self._edge / count, recipe.tv_sh / count
            self._kernels.total_variation(self.field, self.gradients, first, min(n, batches * count), *scales)
        learn, rates = self._kernels.train, self._rates(fraction)
        statistics = learn(self.field, rays, colours, self._settings, self.gradients, rates, opacity, batches)
        self.sampler.learn(statistics.ray_errors)
        loss = statistics.squared_error / (3 * len(rays))
        return StepResult(len(rays), loss, statistics.marched, statistics.coloured)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with an earlier run's optimiser (`state`).

        Raises:
            ResumeInvalid: it is that of other voxels.
        """
        if "mean_square" in state and "greatest_visibility" in state:
            for name in ("mean_square", "greatest_visibility"):
                here = getattr(self.gradients, name)[:-1]
                if state[name].shape != tuple(here.shape):
                    raise ResumeInvalid(
                        "The checkpoint's optimiser state does not fit its voxels.", "Resume from the .vdb alone."
                    )
                here.copy_(torch.from_numpy(state[name]))
            self.sampler.restore(state)

    def state(self) -> dict[str, Any]:
        """What a later run needs to go on from here, beside the field: arrays and numbers."""
        return {
            "mean_square": self.gradients.mean_square[:-1].cpu().numpy(),
            "greatest_visibility": self.gradients.greatest_visibility[:-1].cpu().numpy(),
            **self.sampler.state(),
        }

    def visible(self, weight: float) -> torch.Tensor:
        """Indices, int64 [M], of the voxels that weighed more than `weight` in some ray of this stage.

        All of them while hardly any rays have been drawn: unseen would only mean not looked at yet.
        """
        if not self.sampler.is_looked_at:
            return torch.arange(self.grid.active_voxels, device=self.grid.device)
        return torch.nonzero(self.gradients.greatest_visibility[:-1] > weight_code(weight)).flatten()

    @property
    def memory(self) -> StageMemory:
        """What this stage's voxels take."""
        bricks = self.field.bricks
        counts = BrickCounts(
            self.grid.active_voxels, len(bricks.bricks), len(bricks.brick_rows), len(bricks.row_positions)
        )
        return StageMemory.of(counts, self.grid.sh_degree)

    def finer_grid(self, silhouettes: Silhouettes | None, budget: MemoryBudget) -> VoxelGrid:
        """The field at twice the resolution: what pruning leaves and the voxels around it, inside the silhouettes.

        Raises:
            OutOfMemory: a stage of that grid does not fit into the budget.
        """
        grid = self.grid
        kept = grid.coordinates[self.visible(self._recipe.prune_weight)]
        x, y, z = grid.resolution
        result = VoxelGrid((2 * x, 2 * y, 2 * z), grid.scene_bounds, grid.sh_degree, device=grid.device)
        fine = children(dilate(kept, grid.resolution))
        if silhouettes is not None:
            fine = silhouettes.carve_voxels(result, torch.split(fine, _BLOCK), self._recipe.hull_slack)
        wanted = StageMemory.of(BrickCounts.of(fine), grid.sh_degree)
        budget.check(wanted, result.resolution, self.memory)
        result.set_rows(fine, self._kernels.resample(self.field, fine, (0.5, 0.5, 0.5)))
        return result

    def final_grid(self) -> VoxelGrid:
        """The field without the voxels that no ray ever saw. Ends the stage: its gradients make room for it."""
        self.gradients = replace(self.gradients, rows=torch.empty(0))
        return self.grid.subset(self.visible(self._recipe.final_prune_weight))

    def _rates(self, fraction: float) -> RmsPropRates:
        recipe = self._recipe
        return RmsPropRates(
            density=recipe.density_rate * (recipe.density_rate_end / recipe.density_rate) ** fraction / self._longest,
            sh=recipe.sh_rate * (recipe.sh_rate_end / recipe.sh_rate) ** fraction,
            decay=recipe.decay,
            density_epsilon=recipe.epsilon * self._edge,
            sh_epsilon=recipe.epsilon,
        )
