"""Small pictures of a field in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plenoxels.cameras import View
from plenoxels.colour import to_bytes
from plenoxels.config import PlenoxelConfig
from plenoxels.kernels import Field, Kernels
from plenoxels.render import FieldRenderer

_LONGEST_EDGE = 512


def render_preview(field: Field, config: PlenoxelConfig, kernels: Kernels, view: View) -> NDArray[np.uint8]:
    """A view of the field, uint8 [height, width, 3], at most 512 pixels long."""
    longest = max(view.intrinsics.width, view.intrinsics.height)
    view = view.downscaled(max(1, -(-longest // _LONGEST_EDGE)))
    renderer = FieldRenderer.of_field(field, config, kernels)
    return to_bytes(renderer.render(view.intrinsics, view.camera_to_world))
