"""The field itself: sparse voxels with density and spherical harmonics, placed in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch

from plenoxels.grid.memory import huge_page_zeros
from plenoxels.grid.row_layout import RowLayout

if TYPE_CHECKING:
    from plenoxels.config import PlenoxelConfig
    from plenoxels.kernels import Kernels, RayBatch
    from plenoxels.render import DifferentiableRenderer

MAX_RESOLUTION = 4096


def brick_order_key(coordinates: torch.Tensor) -> torch.Tensor:
    """Sorting key, int64 [N], of integer coordinates [N, 3] from 0 up: brick of 8^3 first, then the place inside it."""
    c = coordinates.to(torch.int64)
    brick, place = c >> 3, c & 7
    bricks_along = MAX_RESOLUTION // 8 + 1
    key = (brick[:, 0] * bricks_along + brick[:, 1]) * bricks_along + brick[:, 2]
    return key * 512 + place[:, 0] * 64 + place[:, 1] * 8 + place[:, 2]


class VoxelGrid:
    """Sparse voxels of one Plenoxel field.

    Voxel (i, j, k), 0 <= i < resolution[0], is centred at `origin + (i, j, k) * voxel_size` in world units; the
    field is
    trilinear between centres and voxels that are not active count as 0 (contracts/vdb.md). Voxels may be anisotropic.

    Attributes:
        resolution: voxels along x, y, z inside the bounds.
        scene_bounds: min x, y, z, max x, y, z in world units.
        sh_degree: 0 to 3.
        coordinates: int32 [N, 3], index (i, j, k) of each active voxel, no duplicates, sorted by brick of 8^3 voxels
            and by
            x, y, z inside it (rows near in space are near in memory; OpenVDB's leaf nodes hold the same order).
        rows: float32 [N + 1, layout.width]; the last row is zero and stands for every inactive voxel.
    """

    def __init__(
        self,
        resolution: Sequence[int],
        scene_bounds: Sequence[float],
        sh_degree: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        """An empty grid (no active voxels).

        Raises:
            ValueError: resolution, bounds or degree are out of range.
        """
        if len(resolution) != 3 or not all(1 <= int(r) <= MAX_RESOLUTION for r in resolution):
            raise ValueError(
                f"The resolution is {tuple(resolution)}; it must be three numbers from 1 to {MAX_RESOLUTION}."
            )
        if len(scene_bounds) != 6 or not all(math.isfinite(b) for b in scene_bounds):
            raise ValueError(f"The scene bounds are {tuple(scene_bounds)}; they must be six finite numbers.")
        if not all(scene_bounds[axis] < scene_bounds[axis + 3] for axis in range(3)):
            raise ValueError(f"The scene bounds are {tuple(scene_bounds)}; each minimum must lie below its maximum.")
        self.layout = RowLayout(sh_degree)
        self.sh_degree = sh_degree
        x, y, z = (int(r) for r in resolution)
        self.resolution: tuple[int, int, int] = (x, y, z)
        self.scene_bounds: tuple[float, ...] = tuple(float(b) for b in scene_bounds)
        self.coordinates = torch.empty(0, 3, dtype=torch.int32, device=device)
        self.rows = torch.zeros(1, self.layout.width, dtype=torch.float32, device=device)
        self._renderer: DifferentiableRenderer | None = None  # of the last call of `render`

    @classmethod
    def from_voxels(
        cls,
        resolution: Sequence[int],
        scene_bounds: Sequence[float],
        coordinates: torch.Tensor,
        density: torch.Tensor,
        sh: torch.Tensor,
    ) -> Self:
        """A grid of the given voxels.

        Args:
            resolution: as in the constructor.
            scene_bounds: as in the constructor.
            coordinates: integers [N, 3], inside the resolution, no duplicates.
            density: [N], extinction per world unit.
            sh: [N, (degree + 1)^2, 3], RGB coefficients.

        Raises:
            ValueError: shapes disagree, coordinates lie outside the resolution or repeat.
        """
        degree = math.isqrt(sh.shape[1]) - 1 if sh.ndim == 3 and sh.shape[1] else -1
        if sh.ndim != 3 or sh.shape[2] != 3 or (degree + 1) ** 2 != sh.shape[1]:
            raise ValueError(f"The coefficients have shape {tuple(sh.shape)}; expected [N, (degree + 1)^2, 3].")
        if coordinates.shape != (len(density), 3) or len(sh) != len(density) or density.ndim != 1:
            raise ValueError(
                f"Coordinates {tuple(coordinates.shape)}, densities {tuple(density.shape)} and coefficients "
                f"{tuple(sh.shape)} do not describe the same voxels."
            )
        grid = cls(resolution, scene_bounds, degree, device=coordinates.device)
        grid.set_rows(coordinates, grid.layout.pack(density, sh))
        return grid

    def set_rows(self, coordinates: torch.Tensor, rows: torch.Tensor) -> None:
        """Replaces all voxels, in any order. coordinates: integers [N, 3]; rows: float32 [N, layout.width].

        Raises:
            ValueError: coordinates lie outside the resolution or repeat, or rows have another shape.
        """
        if rows.shape != (len(coordinates), self.layout.width):
            raise ValueError(f"Rows of shape {tuple(rows.shape)}; expected {(len(coordinates), self.layout.width)}.")
        limit = torch.tensor(self.resolution, device=coordinates.device)
        if len(coordinates) and (bool((coordinates < 0).any()) or bool((coordinates >= limit).any())):
            raise ValueError(f"Voxel coordinates lie outside the resolution {self.resolution}.")
        keys, order = torch.sort(brick_order_key(coordinates))
        if bool((keys[1:] == keys[:-1]).any()):
            raise ValueError("Voxel coordinates repeat.")
        self.coordinates = coordinates[order].to(torch.int32).contiguous()
        self.rows = huge_page_zeros((len(rows) + 1, self.layout.width), rows.device)
        torch.index_select(rows.to(torch.float32), 0, order, out=self.rows[:-1])

    def subset(self, chosen: torch.Tensor) -> VoxelGrid:
        """The grid with some of its voxels alone: indices int64 [M], ascending. Takes one copy of their rows."""
        grid = VoxelGrid(self.resolution, self.scene_bounds, self.sh_degree, device=self.device)
        grid.coordinates = self.coordinates[chosen]
        grid.rows = huge_page_zeros((len(chosen) + 1, self.layout.width), self.device)
        torch.index_select(self.rows.detach(), 0, chosen, out=grid.rows[:-1])
        return grid

    @property
    def device(self) -> torch.device:
        return self.rows.device

    @property
    def active_voxels(self) -> int:
        """Number of active voxels, N."""
        return len(self.coordinates)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in world units."""
        b, r = self.scene_bounds, self.resolution
        return ((b[3] - b[0]) / r[0], (b[4] - b[1]) / r[1], (b[5] - b[2]) / r[2])

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position of the centre of voxel (0, 0, 0)."""
        h, b = self.voxel_size, self.scene_bounds
        return (b[0] + h[0] / 2, b[1] + h[1] / 2, b[2] + h[2] / 2)

    @property
    def density(self) -> torch.Tensor:
        """Extinction per world unit, float32 [N]: a view into the rows."""
        return self.rows[:-1, self.layout.density]

    @property
    def sh(self) -> torch.Tensor:
        """Coefficients, float32 [N, (degree + 1)^2, 3]: a copy."""
        return self.layout.unpack_sh(self.rows[:-1])

    def world_positions(self, coordinates: torch.Tensor | None = None) -> torch.Tensor:
        """World positions of voxel centres, float32 [N, 3]: of integer coordinates [N, 3], or of all active voxels."""
        coordinates = self.coordinates if coordinates is None else coordinates
        size = torch.tensor(self.voxel_size, dtype=torch.float64, device=self.device)
        origin = torch.tensor(self.origin, dtype=torch.float64, device=self.device)
        return (coordinates.to(torch.float64) * size + origin).to(torch.float32)

    def render(
        self,
        rays: RayBatch,
        *,
        density: torch.Tensor | None = None,
        sh: torch.Tensor | None = None,
        config: PlenoxelConfig | None = None,
        kernels: Kernels | None = None,
    ) -> torch.Tensor:
        """Pixels of rays, differentiable by the voxels' values, for training loops of one's own.

        Gradients reach whichever holds the values: `grid.rows`, when it requires them (`grid.density` and `grid.sh`
        are differentiable views of it, for regularisers), or `density` and `sh`, when they are given. Values may
        change between calls in any way, voxels by `set_rows` alone. Not offered: gradients by the rays, second
        derivatives. Samples below the config's thresholds have no gradient.

        Example:
            ::

                density = grid.density.clone().requires_grad_()
                sh = grid.sh.requires_grad_()
                optimiser = torch.optim.Adam([{"params": [density], "lr": 1.0}, {"params": [sh], "lr": 0.02}])
                for rays, colours in batches:  # RayBatch, float32 [n, 3]
                    loss = (grid.render(rays, density=density, sh=sh) - colours).square().mean()
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                grid.set_rows(grid.coordinates, grid.layout.pack(density.detach(), sh.detach()))

        Args:
            rays: world space, on the grid's device.
            density, sh: values instead of the grid's own, float [N] and [N, (degree + 1)^2, 3]; both or none.
            config: model settings; None: the defaults. A call with other settings or kernels than the one before
                prepares the grid anew.
            kernels: of the grid's device; None: the last call's, at first those of all threads.

        Returns:
            float32 [n, 3], sRGB-encoded, over the config's background.

        Raises:
            ValueError: shapes, devices or the config do not fit, or rays require gradients.
            DeviceMissing: there are no kernels for the grid's device.
        """
        from plenoxels.render.differentiable import DifferentiableRenderer  # which is built upon this module

        rows = self.rows
        if density is not None and sh is not None:
            if density.shape != (self.active_voxels,) or sh.shape != (self.active_voxels, self.layout.coefficients, 3):
                raise ValueError(
                    f"Density of shape {tuple(density.shape)} and coefficients of shape {tuple(sh.shape)}; expected "
                    f"[{self.active_voxels}] and [{self.active_voxels}, {self.layout.coefficients}, 3]."
                )
            rows = torch.nn.functional.pad(self.layout.pack(density, sh), (0, 0, 0, 1))
        elif density is not None or sh is not None:
            raise ValueError("Give both density and sh, or neither: then the grid's own values are rendered.")
        if self._renderer is None or not self._renderer.fits(self, config, kernels):
            if kernels is None and self._renderer is not None:
                kernels = self._renderer.kernels
            self._renderer = DifferentiableRenderer(self, config, kernels)
        return self._renderer.render(rays, rows)[0]

    def to(self, device: torch.device | str) -> VoxelGrid:
        """The same grid on another device (itself when it is there already)."""
        if torch.device(device) == self.device:
            return self
        grid = VoxelGrid(self.resolution, self.scene_bounds, self.sh_degree, device=device)
        grid.coordinates, grid.rows = self.coordinates.to(device), self.rows.to(device)
        return grid

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: threads and acceleration structure stay behind."""
        return {**self.__dict__, "_renderer": None}

    def __repr__(self) -> str:
        return (
            f"VoxelGrid(resolution={self.resolution}, scene_bounds={self.scene_bounds}, sh_degree={self.sh_degree}, "
            f"active_voxels={self.active_voxels}, device={self.device})"
        )
