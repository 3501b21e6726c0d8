"""Pictures of a field."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from plenoxels.cameras import Intrinsics
from plenoxels.config import PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import Field, Kernels, MarchSettings, RayBatch, open_kernels
from plenoxels.render.camera_rays import camera_rays

_CHUNK = 1 << 18


class FieldRenderer:
    """Renders one field through any camera; keeps its acceleration structure between pictures."""

    def __init__(
        self,
        grid: VoxelGrid,
        config: PlenoxelConfig,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        """Prepares a field for rendering.

        Args:
            grid: the field; its voxels must not change while the renderer is used.
            config: its model settings.
            device: `auto`, `cpu`, `cuda`, ...
            threads: CPU threads; None: all.

        Raises:
            DeviceMissing: the device is not there.
        """
        kernels = open_kernels(device, threads)
        self._use(Field.of(grid.to(kernels.device)), config, kernels)

    @classmethod
    def of_field(cls, field: Field, config: PlenoxelConfig, kernels: Kernels) -> Self:
        """A renderer that shares a trainer's field and kernels."""
        renderer = cls.__new__(cls)
        renderer._use(field, config, kernels)
        return renderer

    def _use(self, field: Field, config: PlenoxelConfig, kernels: Kernels) -> None:
        self.config = config
        self._field, self._kernels = field, kernels
        self._settings = MarchSettings.of(config, field.grid)
        self._directions: tuple[Intrinsics, torch.Tensor] | None = None

    @property
    def device_description(self) -> str:
        return self._kernels.description

    def render(self, intrinsics: Intrinsics, camera_to_world: NDArray[np.float64]) -> NDArray[np.float32]:
        """A picture, float32 [height, width, 3], sRGB-encoded, over the config's background.

        Args:
            intrinsics: the camera's image plane.
            camera_to_world: float64 [4, 4], OpenGL axes.
        """
        return self.render_with_alpha(intrinsics, camera_to_world)[0]

    def render_with_alpha(
        self, intrinsics: Intrinsics, camera_to_world: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `render`, and the field's opacity, float32 [height, width]."""
        rays = camera_rays(self._local_directions(intrinsics), camera_to_world)
        pixels, transmittance = [], []
        for start in range(0, len(rays), _CHUNK):
            part = slice(start, start + _CHUNK)
            chunk = RayBatch(rays.origins[part].contiguous(), rays.directions[part].contiguous())
            colours, left = self._kernels.render(self._field, chunk, self._settings)
            pixels.append(colours.cpu())
            transmittance.append(left.cpu())
        size = (intrinsics.height, intrinsics.width)
        return torch.cat(pixels).reshape(*size, 3).numpy(), (1 - torch.cat(transmittance)).reshape(size).numpy()

    def _local_directions(self, intrinsics: Intrinsics) -> torch.Tensor:
        if self._directions is None or self._directions[0] != intrinsics:
            directions = torch.from_numpy(intrinsics.local_directions()).to(self._kernels.device)
            self._directions = (intrinsics, directions)
        return self._directions[1]
