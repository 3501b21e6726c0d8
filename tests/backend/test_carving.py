"""Bounds from cameras, and the visual hull against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from plenoxels.cameras import Intrinsics, View
from plenoxels.training.carving import Silhouettes, camera_bounds, cubic_voxels
from small_scene import orbit_pose

SIZES = [(40, 30), (25, 50)]


def _views(count: int = 12, seed: int = 0) -> tuple[list[View], list[np.ndarray]]:
    """Cameras of two sizes with off-centre principal points; masks are random blots."""
    generator = np.random.default_rng(seed)
    views, photos = [], []
    for i in range(count):
        width, height = SIZES[i % 2]
        camera = Intrinsics(width, height, 45.0, 41.0, width / 2 + 3, height / 2 - 2)
        views.append(View(f"v{i}", None, orbit_pose(0.7 * i, 0.5 * math.sin(i)), camera, "train"))
        photo = np.zeros((height, width, 4), np.uint8)
        row, column = np.mgrid[:height, :width]
        for _ in range(3):
            centre = generator.uniform(0.2, 0.8, 2) * (height, width)
            photo[(row - centre[0]) ** 2 + (column - centre[1]) ** 2 < 40, 3] = 255
        photos.append(photo)
    return views, photos


def _brute_force(views: list[View], photos: list[np.ndarray], positions: np.ndarray, slack: float) -> np.ndarray:
    kept = np.ones(len(positions), bool)
    times_seen = np.zeros(len(positions), int)
    for view, photo in zip(views, photos, strict=True):
        local = np.linalg.inv(view.camera_to_world) @ np.c_[positions, np.ones(len(positions))].T
        camera, mask = view.intrinsics, photo[..., 3] > 0
        for i, (x, y, z, _) in enumerate(local.T):
            if z >= 0:
                continue
            column, row = x / -z * camera.fl_x + camera.cx, -y / -z * camera.fl_y + camera.cy
            if not (0 <= column < camera.width and 0 <= row < camera.height):
                continue
            times_seen[i] += 1
            reach = math.ceil(slack * max(camera.fl_x, camera.fl_y) / -z + 0.5)
            top, left = max(0, int(row) - reach), max(0, int(column) - reach)
            kept[i] &= mask[top : int(row) + reach + 1, left : int(column) + reach + 1].any()
    return kept & (times_seen >= max(1, len(views) // 10))


@pytest.mark.parametrize("slack", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_hull_agrees_with_brute_force(slack: float, threads: int):
    views, photos = _views()
    positions = np.random.default_rng(1).uniform(-1.6, 1.6, (3000, 3)).astype(np.float32)
    kept = Silhouettes(views, photos, threads).carve(torch.from_numpy(positions), slack).numpy()
    expected = _brute_force(views, photos, positions, slack)
    assert 0 < expected.sum() < len(positions)
    assert (kept != expected).mean() < 0.002, "only points on a pixel's edge may fall on either side in float32"


def test_nothing_is_kept_where_no_view_looks():
    views, photos = _views()
    photos = [np.full_like(photo, 255) for photo in photos]
    far = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 50.0], [0.0, 0.0, -60.0]])
    assert Silhouettes(views, photos).carve(far, 0.1).tolist() == [True, False, False]


def test_bounds_are_around_what_the_cameras_look_at():
    centre = np.array([3.0, -2.0, 1.0])
    views = []
    for i in range(20):
        pose = orbit_pose(0.9 * i, 0.6 * math.sin(2 * i), distance=4.0)
        pose[:3, 3] += centre
        views.append(View(f"v{i}", None, pose, Intrinsics.from_field_of_view(80, 80, 0.6), "train"))
    bounds = np.array(camera_bounds(views))
    np.testing.assert_allclose((bounds[:3] + bounds[3:]) / 2, centre, atol=0.02)
    np.testing.assert_allclose(bounds[3:] - bounds[:3], 2 * 4.0 * math.sin(0.3), rtol=0.02)


def test_bounds_of_parallel_cameras_lie_in_front_of_them():
    views = []
    for i in range(6):
        pose = np.eye(4)
        pose[:3, 3] = (0.2 * i, 0.1 * (i % 2), 0.0)
        views.append(View(f"v{i}", None, pose, Intrinsics.from_field_of_view(80, 60, 0.9), "train"))
    bounds = np.array(camera_bounds(views))
    assert np.isfinite(bounds).all()
    assert (bounds[:3] < bounds[3:]).all()
    assert (bounds[2] + bounds[5]) / 2 < 0, "cameras look along -z"


def test_voxels_are_cubes_that_fill_the_bounds():
    low, high = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64), torch.tensor([1.1, 0.4, 2.9], dtype=torch.float64)
    resolution, bounds = cubic_voxels(low, high, 0.05, 4)
    assert all(r % 4 == 0 for r in resolution)
    edges = [(bounds[axis + 3] - bounds[axis]) / resolution[axis] for axis in range(3)]
    assert edges == pytest.approx([0.05] * 3)
    assert all(bounds[axis] <= low[axis] + 1e-9 for axis in range(3))
    assert all(bounds[axis + 3] >= high[axis] - 1e-9 for axis in range(3))
