"""Pictures of fields."""

from plenoxels.render.differentiable import DifferentiableRenderer
from plenoxels.render.renderer import FieldRenderer

__all__ = ["DifferentiableRenderer", "FieldRenderer"]
