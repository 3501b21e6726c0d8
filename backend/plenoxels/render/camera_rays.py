"""Rays of cameras."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from plenoxels.kernels import RayBatch


def pose_tensors(
    camera_to_world: NDArray[np.float64], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations float32 [..., 3, 3] and positions float32 [..., 3] of camera-to-world matrices [..., 4, 4]."""
    matrices = torch.from_numpy(np.ascontiguousarray(camera_to_world, np.float32)).to(device)
    return matrices[..., :3, :3].contiguous(), matrices[..., :3, 3].contiguous()


def camera_rays(local_directions: torch.Tensor, camera_to_world: NDArray[np.float64]) -> RayBatch:
    """World-space rays of one camera.

    Args:
        local_directions: float32 [n, 3], unit, in the camera's frame (cameras.Intrinsics.local_directions).
        camera_to_world: float64 [4, 4].
    """
    rotation, position = pose_tensors(camera_to_world, local_directions.device)
    directions = torch.nn.functional.normalize(local_directions @ rotation.T, dim=1)
    return RayBatch(position.expand(len(directions), 3).contiguous(), directions.contiguous())
