"""Pictures of fields."""

from plenoxels.render.renderer import FieldRenderer

__all__ = ["FieldRenderer"]
