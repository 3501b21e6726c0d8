"""Cameras: every point projects to the pixel that the pinhole formula says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import radiance
from bpy_extras.object_utils import world_to_camera_view
from fake_backend import write_cameras
from mathutils import Vector

POINTS = np.random.default_rng(2).uniform(-1, 1, (50, 3))


def project(scene: Any, camera: Any, point: Any) -> tuple[float, float]:
    """Pixel coordinates from the top left, by Blender's own camera."""
    x, y, _ = world_to_camera_view(scene, camera, Vector(point))
    return x * scene.render.resolution_x, (1 - y) * scene.render.resolution_y


def test_exact_projection(api: Any, scene: Any, tmp_path: Path) -> None:
    write_cameras(tmp_path)
    api.import_field(scene, radiance.write(radiance.blob(0), tmp_path / "field.vdb"))
    cameras = api.import_cameras(scene, tmp_path)
    for camera in (*cameras.training, *cameras.held_out):
        api.setup_scene(scene, camera=camera)
        assert scene.camera == camera
        assert (scene.render.resolution_x, scene.render.resolution_y) == (80, 60)
        to_camera = np.linalg.inv(np.array(camera.matrix_world))
        for point in POINTS:
            x, y, z = to_camera[:3, :3] @ point + to_camera[:3, 3]
            expected = (43.0 + 90.0 * x / -z, 27.5 - 100.0 * y / -z)
            assert project(scene, camera, point) == pytest.approx(expected, abs=2e-3)


def test_collections_photos_and_reimport(api: Any, scene: Any, tmp_path: Path) -> None:
    photos = tmp_path / "Fotos é"
    photos.mkdir()
    image = bpy.data.images.new("photo", 8, 6)
    for number in range(2):
        image.filepath_raw, image.file_format = str(photos / f"r_{number}.png"), "PNG"
        image.save()
    write_cameras(tmp_path, photos)
    for _ in range(2):
        cameras = api.import_cameras(scene, tmp_path)
        assert len([o for o in scene.objects if o.type == "CAMERA"]) == 3
        assert [len(cameras.training), len(cameras.held_out), cameras.missing_photos] == [2, 1, 1]
        assert set(cameras.collection.children[0].objects) == set(cameras.held_out)
        shown = cameras.training[1].data
        assert shown.show_background_images
        assert Path(shown.background_images[0].image.filepath) == photos / "r_1.png"
    assert api.import_cameras(scene, tmp_path, photos=False).missing_photos == 0


def test_setup_prefers_held_out_cameras_and_keeps_the_users_world(api: Any, scene: Any, tmp_path: Path) -> None:
    write_cameras(tmp_path)
    mine = bpy.data.worlds.new("mine")
    scene.world = mine
    with pytest.raises(api.PlenoError, match="Import a field first"):
        api.setup_scene(scene)
    api.import_field(scene, radiance.write(radiance.blob(0, background=(0.5, 0.5, 0.5)), tmp_path / "field.vdb"))
    assert api.setup_scene(scene).warnings
    cameras = api.import_cameras(scene, tmp_path)
    setup = api.setup_scene(scene, pixel_exact=False)
    assert setup.camera == cameras.held_out[0].name
    assert setup.background == pytest.approx((0.214041,) * 3, abs=1e-5)
    assert setup.steps >= 1024
    assert (scene.eevee.volumetric_tile_size, scene.eevee.volumetric_samples) == ("2", 128)
    assert scene.world != mine
    assert mine.use_fake_user
    scene.camera = cameras.training[0]
    assert api.setup_scene(scene).camera == cameras.training[0].name
    if hasattr(scene.cycles, "volume_biased"):
        assert scene.cycles.volume_biased


def test_missing_cameras(api: Any, scene: Any, tmp_path: Path) -> None:
    with pytest.raises(api.PlenoError, match=r"cameras\.json"):
        api.import_cameras(scene, tmp_path)
