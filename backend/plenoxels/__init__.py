"""Plenoxel radiance fields: training on the CPU or CUDA, OpenVDB storage, rendering.

The names below are the public interface; each is imported when it is first used, so that `python -m plenoxels --help`
does not wait for torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plenoxels.cameras import Intrinsics, View
    from plenoxels.config import Compositing, PlenoxelConfig
    from plenoxels.datasets import Dataset, open_dataset
    from plenoxels.errors import PlenoxelError
    from plenoxels.evaluation import EvaluationResult, evaluate_views
    from plenoxels.grid import VoxelGrid
    from plenoxels.kernels import RayBatch
    from plenoxels.neuralvdb import FieldMetadata, read_field, write_field, write_levels
    from plenoxels.render import DifferentiableRenderer, FieldRenderer
    from plenoxels.training import Recipe, Trainer, TrainingResult

# Torch's OpenMP workers spin after each operation unless told otherwise before torch is first imported; beside a busy
# Blender that takes most of the processor from the kernels.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_ROOMS = {
    "cameras": ("Intrinsics", "View"),
    "config": ("Compositing", "PlenoxelConfig"),
    "datasets": ("Dataset", "open_dataset"),
    "errors": ("PlenoxelError",),
    "evaluation": ("EvaluationResult", "evaluate_views"),
    "grid": ("VoxelGrid",),
    "kernels": ("RayBatch",),
    "neuralvdb": ("FieldMetadata", "read_field", "write_field", "write_levels"),
    "render": ("DifferentiableRenderer", "FieldRenderer"),
    "training": ("Recipe", "Trainer", "TrainingResult"),
}

__all__ = [
    "Compositing",
    "Dataset",
    "DifferentiableRenderer",
    "EvaluationResult",
    "FieldMetadata",
    "FieldRenderer",
    "Intrinsics",
    "PlenoxelConfig",
    "PlenoxelError",
    "RayBatch",
    "Recipe",
    "Trainer",
    "TrainingResult",
    "View",
    "VoxelGrid",
    "evaluate_views",
    "open_dataset",
    "read_field",
    "write_field",
    "write_levels",
]


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"plenoxels.{room}"), name)
    raise AttributeError(f"module 'plenoxels' has no attribute {name!r}")
