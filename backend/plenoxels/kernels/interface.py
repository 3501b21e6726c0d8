"""What the renderer and the trainer ask of a device's kernels, whichever device it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch

from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.grid import BrickMap, VoxelGrid
from plenoxels.grid.memory import huge_page_zeros


class Adding(StrEnum):
    """How several CPU threads add gradients to the same rows. CUDA always adds atomically.

    EXACT: one at a time by row, behind small locks.
    ORDERED: exact, and in a fixed order: the same bits each time (about 1.3 times the work).
    RACING: without waiting; now and then an addition is lost where two threads meet in a row (Niu et al. 2011).
        Lego learns as well and steps take 0.85 times as long, so trainings use it; nothing else should.
    """

    EXACT = "exact"
    ORDERED = "ordered"
    RACING = "racing"


@dataclass
class Field:
    """A grid and the bricks that rays march through; both on the kernels' device."""

    grid: VoxelGrid
    bricks: BrickMap

    @classmethod
    def of(cls, grid: VoxelGrid) -> Field:
        return cls(grid, BrickMap.build(grid))


@dataclass(frozen=True)
class RayBatch:
    """Rays in world space.

    Attributes:
        origins: float32 [n, 3].
        directions: float32 [n, 3], unit length, away from the camera.
        jitter: float32 [n], where in its first step each ray takes its first sample, 0 to 1; None: 0.5.
    """

    origins: torch.Tensor
    directions: torch.Tensor
    jitter: torch.Tensor | None = None

    def __post_init__(self) -> None:
        n = len(self.origins)
        if self.origins.shape != (n, 3) or self.directions.shape != (n, 3):
            raise ValueError(
                f"Rays of shapes {tuple(self.origins.shape)} and {tuple(self.directions.shape)}; expected [n, 3]."
            )
        for part in (self.origins, self.directions, self.jitter):
            if part is not None and (part.dtype != torch.float32 or not part.is_contiguous() or len(part) != n):
                raise ValueError("Rays must be contiguous float32 tensors of one length.")

    def __len__(self) -> int:
        return len(self.origins)


@dataclass(frozen=True)
class OpacityTargets:
    """How opaque each ray should be: photos with alpha know it.

    Attributes:
        values: float32 [n], 0 to 1.
        weight: of the mean squared difference, beside the colours' mean squared error.
    """

    values: torch.Tensor
    weight: float


@dataclass(frozen=True)
class MarchSettings:
    """How rays are marched and composited (contracts/vdb.md).

    Attributes:
        step: distance between samples in world units.
        weight_threshold, transmittance_threshold: see PlenoxelConfig.
        background: sRGB-encoded colour behind the field.
        compositing: light or encoded values.
    """

    step: float
    weight_threshold: float
    transmittance_threshold: float
    background: tuple[float, float, float]
    compositing: Compositing

    @classmethod
    def of(cls, config: PlenoxelConfig, grid: VoxelGrid, step_fraction: float | None = None) -> MarchSettings:
        """The settings of a model on a grid; `step_fraction` overrides the model's, in smallest voxel edges."""
        fraction = config.step_fraction if step_fraction is None else step_fraction
        return cls(
            step=fraction * min(grid.voxel_size),
            weight_threshold=config.weight_threshold,
            transmittance_threshold=config.transmittance_threshold,
            background=config.background,
            compositing=config.compositing,
        )


@dataclass
class GradientBuffers:
    """Gradients by a grid's rows and what the optimiser keeps for them; a row per voxel and one for the inactive.

    Attributes:
        rows: float32 [N + 1, width], the gradient since the last optimiser step.
        mean_square: float32 [N + 1, 2], RMSProp's running mean of squared gradients: by the density, and the mean of
            those by all of a voxel's harmonics.
        visibility: uint8 [N + 1], code of the greatest compositing weight since the last step; 0: untouched.
        greatest_visibility: uint8 [N + 1], code of the greatest weight since it was cleared (see `weight_code`).
    """

    rows: torch.Tensor
    mean_square: torch.Tensor
    visibility: torch.Tensor
    greatest_visibility: torch.Tensor

    @classmethod
    def for_grid(cls, grid: VoxelGrid) -> GradientBuffers:
        shape, device = tuple(grid.rows.shape), grid.device
        return cls(
            rows=huge_page_zeros(shape, device),
            mean_square=huge_page_zeros((shape[0], 2), device),
            visibility=torch.zeros(shape[0], dtype=torch.uint8, device=device),
            greatest_visibility=torch.zeros(shape[0], dtype=torch.uint8, device=device),
        )


def weight_code(weight: float) -> int:
    """The byte for a compositing weight: its float32's exponent and three mantissa bits, 1 to 128 (12 % apart)."""
    bits = int(torch.tensor(weight, dtype=torch.float32).view(torch.int32))
    return min(max((bits >> 20) - 0x378, 1), 255)


@dataclass(frozen=True)
class RmsPropRates:
    """One optimiser step. Rates are in the values' own units: density in extinction per world unit."""

    density: float
    sh: float
    decay: float
    density_epsilon: float
    sh_epsilon: float


def check_targets(rays: RayBatch, targets: torch.Tensor, opacities: torch.Tensor | None) -> None:
    """Raises ValueError where targets are not contiguous float32 [n, 3], opacities not [n]: kernels read raw memory."""
    n = len(rays)
    for name, tensor, shape in (("Targets", targets, (n, 3)), ("Opacities", opacities, (n,))):
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError(f"{name} of shape {tuple(tensor.shape)}; expected contiguous float32 {list(shape)}.")


@dataclass(frozen=True)
class BatchStatistics:
    """What a batch's gradients came to.

    Attributes:
        squared_error: sum of squared differences over rays and channels.
        marched, coloured: numbers of samples.
        ray_errors: float32 [n], squared difference of each ray, summed over channels; on the kernels' device.
    """

    squared_error: float
    marched: int
    coloured: int
    ray_errors: torch.Tensor


class Kernels(Protocol):
    """One device's kernels. Not thread-safe: one caller at a time.

    Attributes:
        device: where tensors must lie.
        description: for people.
        batches_together: how many batches `train` wants at once.
    """

    device: torch.device
    description: str
    batches_together: int

    def prepare(self, sh_degree: int) -> None:
        """Compiles what fields of this degree need: seconds the first time, milliseconds from Warp's cache."""
        ...

    def render(self, field: Field, rays: RayBatch, settings: MarchSettings) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels float32 [n, 3] (sRGB-encoded, over the background) and transmittance float32 [n] behind each ray."""
        ...

    def loss_gradients(
        self,
        field: Field,
        rays: RayBatch,
        targets: torch.Tensor,
        settings: MarchSettings,
        gradients: GradientBuffers,
        opacity: OpacityTargets | None = None,
    ) -> BatchStatistics:
        """Adds the gradients of the mean squared error over rays and channels; targets float32 [n, 3], encoded."""
        ...

    def pixel_gradients(
        self,
        field: Field,
        rays: RayBatch,
        by_pixel: torch.Tensor,
        settings: MarchSettings,
        gradients: GradientBuffers,
        by_transmittance: torch.Tensor | None = None,
    ) -> None:
        """Adds a loss's gradients, given those by the pixels (float32 [n, 3]) and transmittances ([n])."""
        ...

    def train(
        self,
        field: Field,
        rays: RayBatch,
        targets: torch.Tensor,
        settings: MarchSettings,
        gradients: GradientBuffers,
        rates: RmsPropRates,
        opacity: OpacityTargets | None = None,
        batches: int = 1,
    ) -> BatchStatistics:
        """Learns from some batches: gradients as of `loss_gradients`, and optimiser steps.

        Where `batches_together` is above 1 the rays should be sorted by what they look at: rows are stepped as soon as
        the rays nearby are done, about once a batch, while the processor's cache holds them. Else there is one step of
        all rows at the end. No touched row keeps a gradient either way, whatever put it there; only of a row that two
        racing threads meet in may some be left for the next call.

        Args:
            field: is changed.
            rays: of all batches.
            targets: float32 [n, 3], encoded.
            settings: how rays are marched.
            gradients: the optimiser's memory.
            rates: of the steps.
            opacity: wanted opacities.
            batches: how many batches the rays are; the loss is the mean over one. At most `batches_together`.
        """
        ...

    def rmsprop_step(self, field: Field, gradients: GradientBuffers, rates: RmsPropRates) -> int:
        """Steps each touched row, clears its gradient, brings the bricks up to date; the number of touched rows."""
        ...

    def total_variation(
        self, field: Field, gradients: GradientBuffers, first: int, count: int, density_scale: float, sh_scale: float
    ) -> None:
        """Adds total variation's gradients for `count` rows from row `first` on (wrapping), times the given scales."""
        ...

    def resample(self, field: Field, coordinates: torch.Tensor, ratio: tuple[float, float, float]) -> torch.Tensor:
        """The field's rows, float32 [M, width], interpolated at voxels of another resolution with the same bounds.

        Density counts inactive voxels as 0, as rendering does; harmonics are averaged over the active ones, since an
        inactive voxel has
        no colour.

        Args:
            field: where from.
            coordinates: int32 [M, 3], voxels of the new grid.
            ratio: a new voxel's edges in the field's voxels.
        """
        ...
