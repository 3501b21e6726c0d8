"""A tiny dataset rendered from a known field, for tests of the training and of what surrounds it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plenoxels.cameras import Intrinsics
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.render import FieldRenderer


def ball_field(resolution: int = 32) -> VoxelGrid:
    """A solid coloured ball with view-dependent shading, degree 1, bounds -1 to 1."""
    axis = torch.arange(resolution)
    coordinates = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    position = (coordinates + 0.5) / resolution * 2 - 1
    kept = position.norm(dim=1) < 0.72
    coordinates, position = coordinates[kept], position[kept]
    density = 40 * torch.sigmoid((0.6 - position.norm(dim=1)) * 30)
    sh = torch.zeros(len(position), 4, 3)
    sh[:, 0] = 1.2 * torch.sin(3 * position)
    sh[:, 2] = 0.15
    return VoxelGrid.from_voxels((resolution,) * 3, (-1, -1, -1, 1, 1, 1), coordinates, density, sh)


def orbit_pose(azimuth: float, elevation: float, distance: float = 3.0) -> np.ndarray:
    """Camera-to-world matrix of a camera that looks at the origin, z up; angles in radians."""
    back = np.array(
        [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    )
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(back, right), back, distance * back
    return pose


def write_small_scene(
    folder: Path, views: int = 16, size: int = 48, alpha: bool = True, compositing: Compositing = Compositing.LINEAR
) -> Path:
    """A NeRF-synthetic folder with `views` training and 3 held-out pictures of `ball_field`."""
    config = PlenoxelConfig(sh_degree=1, compositing=compositing)
    renderer = FieldRenderer(ball_field(), config, device="cpu")
    angle = 0.8
    intrinsics = Intrinsics.from_field_of_view(size, size, angle)
    for split, count, shift in (("train", views, 0.0), ("test", 3, 0.37)):
        frames = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pose = orbit_pose(2 * math.pi * (i + shift) / count, 0.9 * math.sin(2.4 * i + shift))
            picture, opacity = renderer.render_with_alpha(intrinsics, pose)
            rgba = np.concatenate([picture, opacity[..., None]], 2) if alpha else picture
            if alpha:  # straight alpha: opaque pixels keep their colour, soft edges are cut
                rgba[..., 3] = rgba[..., 3] > 0.5
            pixels = (rgba.clip(0, 1) * 255 + 0.5).astype(np.uint8)
            Image.fromarray(pixels).save(folder / split / f"r_{i}.png")
            frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": pose.tolist()})
        (folder / f"transforms_{split}.json").write_text(
            json.dumps({"camera_angle_x": angle, "frames": frames}), "utf-8"
        )
    return folder


def two_pictures(height: int, width: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """A picture and the photo it is a noisy copy of, float32 [height, width, 3]; the photo is within 0..1."""
    random = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width][..., None]
    photo = 0.5 + 0.4 * np.sin(0.2 * x + [0, 1, 2]) * np.cos(0.15 * y)
    picture = photo + noise * random.standard_normal(photo.shape)
    return picture.astype(np.float32), photo.astype(np.float32)
