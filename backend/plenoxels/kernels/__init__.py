"""Rendering and training kernels: native code on the CPU, a warp per ray on CUDA, one interface for both."""

from plenoxels.kernels.devices import open_kernels
from plenoxels.kernels.interface import (
    Adding,
    BatchStatistics,
    Field,
    GradientBuffers,
    Kernels,
    MarchSettings,
    OpacityTargets,
    RayBatch,
    RmsPropRates,
    weight_code,
)

__all__ = [
    "Adding",
    "BatchStatistics",
    "Field",
    "GradientBuffers",
    "Kernels",
    "MarchSettings",
    "OpacityTargets",
    "RayBatch",
    "RmsPropRates",
    "open_kernels",
    "weight_code",
]
