"""From photos to a field."""

from plenoxels.training.progress import SilentObserver, TrainingObserver, TrainingProgress, TrainingSnapshot
from plenoxels.training.recipe import PRESETS, Recipe
from plenoxels.training.trainer import Trainer, TrainingResult

__all__ = [
    "PRESETS",
    "Recipe",
    "SilentObserver",
    "Trainer",
    "TrainingObserver",
    "TrainingProgress",
    "TrainingResult",
    "TrainingSnapshot",
]
