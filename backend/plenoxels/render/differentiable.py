"""Rendering as a torch operation, so that a field can be trained by any loop that speaks autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from plenoxels.config import PlenoxelConfig
from plenoxels.grid import BrickMap, VoxelGrid
from plenoxels.grid.memory import huge_page_zeros
from plenoxels.kernels import Field, GradientBuffers, Kernels, MarchSettings, RayBatch, open_kernels


class DifferentiableRenderer:
    """Renders rays through one set of voxels, differentiably by their values.

    `VoxelGrid.render` keeps one of these; make one yourself to have the transmittance too. It keeps the acceleration
    structure, which holds as long as the voxels stay the same. Values are read anew in each call.
    """

    def __init__(self, grid: VoxelGrid, config: PlenoxelConfig | None = None, kernels: Kernels | None = None) -> None:
        """Prepares a grid's voxels; their values are not looked at yet.

        Args:
            grid: which voxels there are, and on which device.
            config: its model settings; None: the defaults.
            kernels: of the grid's device; None: opened here.

        Raises:
            DeviceMissing: there are no kernels for the grid's device.
            ValueError: kernels or config do not fit the grid.
        """
        self.config = PlenoxelConfig(sh_degree=grid.sh_degree) if config is None else config
        self.kernels = open_kernels(str(grid.device)) if kernels is None else kernels
        if self.kernels.device != grid.device:
            raise ValueError(
                f"The grid lies on {grid.device}, the kernels work on {self.kernels.device}; move one: grid.to(...)."
            )
        if self.config.sh_degree != grid.sh_degree:
            raise ValueError(f"The config has sh_degree {self.config.sh_degree}, the grid {grid.sh_degree}.")
        # Not the grid itself: it holds this, and a ring would keep both beyond their last use.
        self._voxels = VoxelGrid(grid.resolution, grid.scene_bounds, grid.sh_degree, device=grid.device)
        self._voxels.coordinates = grid.coordinates
        self._settings = MarchSettings.of(self.config, grid)
        self._bricks = BrickMap.build(grid)
        self._renderings = 0  # how often the bricks' densities were replaced

    def fits(self, grid: VoxelGrid, config: PlenoxelConfig | None, kernels: Kernels | None) -> bool:
        """Whether this renders the grid's voxels with this config (None: the defaults) and kernels (None: any)."""
        wanted = PlenoxelConfig(sh_degree=grid.sh_degree) if config is None else config
        same_kernels = kernels is None or kernels is self.kernels
        return same_kernels and wanted == self.config and grid.coordinates is self._voxels.coordinates

    def render(self, rays: RayBatch, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels and transmittance. `VoxelGrid.render` says what is differentiable.

        Args:
            rays: on the grid's device.
            rows: float32 [N + 1, layout.width], contiguous: `grid.rows`, or others for the same voxels. The last row
                is zero.

        Returns:
            (float32 [n, 3], sRGB-encoded, over the config's background;
            float32 [n], transmittance behind each ray); both differentiable by `rows`.

        Raises:
            ValueError: tensors of wrong shapes, types or devices, or rays that require gradients.
        """
        shape, device = (self._voxels.active_voxels + 1, self._voxels.layout.width), self.kernels.device
        if tuple(rows.shape) != shape or rows.dtype != torch.float32 or not rows.is_contiguous():
            raise ValueError(
                f"The rows are {rows.dtype} of shape {tuple(rows.shape)}; expected contiguous float32 of shape {shape}."
            )
        if rows.device != device or rays.origins.device != device:
            raise ValueError(
                f"The rows lie on {rows.device} and the rays on {rays.origins.device}; expected both on {device}."
            )
        parts = (rays.origins, rays.directions, rays.jitter)
        if any(part is not None and part.requires_grad for part in parts):
            raise ValueError(
                "The rays require gradients, but a rendering is differentiable by the voxels' values only, not by ray "
                "origins, directions or jitter. Detach the rays."
            )
        pixels, transmittance = _Render.apply(rows, self, rays)  # type: ignore[no-untyped-call,unused-ignore]
        return pixels, transmittance

    def _show(self, rows: torch.Tensor) -> Field:
        """The field with these rows; its bricks get their densities."""
        voxels = self._voxels
        shown = VoxelGrid(voxels.resolution, voxels.scene_bounds, voxels.sh_degree, device=voxels.device)
        shown.coordinates, shown.rows = voxels.coordinates, rows.detach()
        self._bricks.refresh_density(shown)
        self._renderings += 1
        return Field(shown, self._bricks)

    def forward(self, rows: torch.Tensor, rays: RayBatch) -> tuple[Field, int, torch.Tensor, torch.Tensor]:
        """For autograd: the field, the number of this rendering, pixels and transmittance."""
        field = self._show(rows)
        return field, self._renderings, *self.kernels.render(field, rays, self._settings)

    def backward(
        self, field: Field, number: int, rays: RayBatch, by_pixel: torch.Tensor, by_transmittance: torch.Tensor
    ) -> torch.Tensor:
        """For autograd: gradients by the rows of a rendering, float32 [N + 1, width].

        Args:
            field, number: of the rendering.
            rays: of the rendering.
            by_pixel, by_transmittance: float [n, 3] and [n], the loss's gradients.
        """
        if number != self._renderings:  # the bricks show another rendering's densities by now
            field = self._show(field.grid.rows)
        rows = huge_page_zeros(tuple(field.grid.rows.shape), field.grid.device)
        visibility = torch.zeros(len(rows), dtype=torch.uint8, device=rows.device)
        nothing = torch.empty(0, device=rows.device)
        gradients = GradientBuffers(rows, nothing, visibility, nothing)
        by_outputs = [by.to(torch.float32).contiguous() for by in (by_pixel, by_transmittance)]
        self.kernels.pixel_gradients(field, rays, by_outputs[0], self._settings, gradients, by_outputs[1])
        return rows


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, renderer: DifferentiableRenderer, rays: RayBatch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.field, ctx.number, pixels, transmittance = renderer.forward(rows, rays)
        ctx.save_for_backward(rows)  # torch then notices where values are changed before their backward pass
        ctx.renderer, ctx.rays = renderer, rays
        return pixels, transmittance

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, *by_output: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        _ = ctx.saved_tensors
        return ctx.renderer.backward(ctx.field, ctx.number, ctx.rays, *by_output), None, None
