"""Rendering and training kernels: native code on the CPU, Warp kernels on CUDA, one interface for both."""

from plenoxels.kernels.devices import open_kernels
from plenoxels.kernels.interface import (
    BatchStatistics,
    Field,
    GradientBuffers,
    Kernels,
    MarchSettings,
    RayBatch,
    RmsPropRates,
    weight_code,
)

__all__ = [
    "BatchStatistics",
    "Field",
    "GradientBuffers",
    "Kernels",
    "MarchSettings",
    "RayBatch",
    "RmsPropRates",
    "open_kernels",
    "weight_code",
]
