"""At the same camera, Cycles shows what the VDB contract says, in every Blender and under every transform.

Both images are compared as the photo is: sRGB-encoded pixels for linear fields, plain values for encoded ones.
The dB reached are printed; run with -rP or -s to see them.
"""

from __future__ import annotations

from math import radians
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import radiance
from mathutils import Euler, Matrix
from radiance import Array, Field

SIZE, FOCAL = 48, 66.0
SOFT, THIN = 60.0, 50.0
"""dB that soft fields and thin shells must reach."""

CAMERA = Matrix.Rotation(0.6, 4, "Z") @ Matrix.Rotation(1.1, 4, "X") @ Matrix.Translation((0.1, 0.05, 4.0))
TURNED = Matrix.LocRotScale((0.1, 0.2, -0.1), Euler((0.4, -0.7, 1.9)), (1.3, 0.7, 1.05))


def add_camera(scene: Any, matrix: Matrix = CAMERA) -> Any:
    data = bpy.data.cameras.new("view")
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", 36.0, FOCAL * 36.0 / SIZE
    camera = bpy.data.objects.new("view", data)
    camera.matrix_world = matrix
    scene.collection.objects.link(camera)
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    return camera


def cycles(scene: Any, folder: Path) -> Array:
    """What Cycles renders, as linear floats from the top row down."""
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_depth, settings.color_mode = "OPEN_EXR", "32", "RGB"
    scene.render.filepath = str(folder / "render.exr")
    bpy.ops.render.render(write_still=True, scene=scene.name)
    image = bpy.data.images.load(scene.render.filepath)
    image.colorspace_settings.name = "Linear Rec.709"
    pixels = np.array(image.pixels[:], dtype=np.float64).reshape(SIZE, SIZE, -1)[::-1, :, :3]
    bpy.data.images.remove(image)
    return pixels


def compare(scene: Any, of: Field, volume: Any, folder: Path, camera: Matrix = CAMERA, **how: float) -> float:
    """dB between Cycles and the reference, and a check that there is something to see."""
    pinhole = (SIZE, SIZE, FOCAL, FOCAL, SIZE / 2, SIZE / 2)
    expected = radiance.render(of, np.array(volume.matrix_world), np.array(camera), pinhole, **how)
    shown = cycles(scene, folder)
    if of.compositing == "linear":
        expected, shown = radiance.encode(expected), radiance.encode(shown)
    background = np.array(of.background)
    assert (np.abs(expected - background).max(-1) > 0.05).mean() > 0.05, "the field fills less than 5 % of the view"
    reached = radiance.psnr(shown, expected)
    print(f"FIDELITY {bpy.app.version_string} {reached:.1f} dB")
    return reached


def show(api: Any, scene: Any, of: Field, folder: Path, matrix: Matrix | None = None, camera: Matrix = CAMERA) -> Any:
    """Imports the field and sets the scene up, all through the extension."""
    volume = api.import_field(scene, radiance.write(of, folder / "field.vdb")).object
    if matrix is not None:
        volume.matrix_world = matrix
    api.setup_scene(scene, camera=add_camera(scene, camera))
    return volume


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_soft_field_of_every_degree(api: Any, scene: Any, tmp_path: Path, degree: int) -> None:
    of = radiance.blob(degree)
    assert compare(scene, of, show(api, scene, of, tmp_path), tmp_path) >= SOFT


def test_thin_shell(api: Any, scene: Any, tmp_path: Path) -> None:
    of = radiance.shell()
    assert compare(scene, of, show(api, scene, of, tmp_path), tmp_path) >= THIN


@pytest.mark.parametrize("compositing", ["linear", "encoded"])
@pytest.mark.parametrize("background", [(1.0, 1.0, 1.0), (0.2, 0.55, 0.8), (0.0, 0.0, 0.0)])
def test_compositing_over_coloured_worlds(
    api: Any, scene: Any, tmp_path: Path, compositing: str, background: tuple[float, float, float]
) -> None:
    of = radiance.blob(1, compositing=compositing, background=background)
    assert compare(scene, of, show(api, scene, of, tmp_path), tmp_path) >= SOFT
    assert scene.view_settings.view_transform == ("Standard" if compositing == "linear" else "Raw")


def test_rotated_and_scaled_object(api: Any, scene: Any, tmp_path: Path) -> None:
    of = radiance.blob(2)
    assert compare(scene, of, show(api, scene, of, tmp_path, TURNED), tmp_path) >= SOFT


def test_mirrored_object(api: Any, scene: Any, tmp_path: Path) -> None:
    of = radiance.blob(1)
    matrix = TURNED @ Matrix.Diagonal((-1.0, 1.0, 1.0, 1.0))
    assert compare(scene, of, show(api, scene, of, tmp_path, matrix), tmp_path) >= SOFT


def test_parented_object_with_shear(api: Any, scene: Any, tmp_path: Path) -> None:
    """A rotated child of a non-uniformly scaled parent is sheared."""
    of = radiance.blob(1)
    volume = show(api, scene, of, tmp_path)
    parent = bpy.data.objects.new("parent", None)
    scene.collection.objects.link(parent)
    parent.matrix_world = Matrix.LocRotScale((0.1, 0.0, 0.1), Euler((0.3, 0.2, 0.9)), (1.2, 0.7, 1.0))
    volume.parent = parent
    volume.rotation_euler = (0.5, 0.1, -0.4)
    scene.view_layers[0].update()
    assert compare(scene, of, volume, tmp_path) >= SOFT


def test_small_units(api: Any, scene: Any, tmp_path: Path) -> None:
    """A field of a few centimetres: Cycles' own offset by name would be whole voxels here."""
    of = radiance.blob(1, low=(-0.011, -0.007, -0.006), high=(0.010, 0.009, 0.007))
    camera = CAMERA.copy()
    camera.translation = camera.translation * 0.01
    volume = show(api, scene, of, tmp_path, camera=camera)
    scene.camera.data.clip_start = 1e-4
    assert compare(scene, of, volume, tmp_path, camera) >= THIN


def test_renamed_and_duplicated_objects_stay_in_place(api: Any, scene: Any, tmp_path: Path) -> None:
    of = radiance.blob(0)
    volume = show(api, scene, of, tmp_path)
    volume.name = "Ein anderer Name, größer"
    scene.view_layers[0].update()
    assert compare(scene, of, volume, tmp_path) >= SOFT
    copy = volume.copy()
    scene.collection.objects.link(copy)
    volume.hide_render = True
    scene.view_layers[0].update()
    assert compare(scene, of, copy, tmp_path) >= SOFT


def test_every_level_of_detail(api: Any, scene: Any, tmp_path: Path) -> None:
    fine = radiance.blob(1, resolution=(32, 24, 16))
    volume = api.import_field(scene, radiance.write_family(fine, tmp_path / "field.vdb", 3)).object
    volume.matrix_world = TURNED
    api.setup_scene(scene, camera=add_camera(scene))
    for level, of in enumerate((fine, radiance.halved(fine), radiance.halved(radiance.halved(fine)))):
        api.set_level_of_detail(volume, level)
        assert compare(scene, of, volume, tmp_path) >= SOFT


def test_density_scale_and_strength(api: Any, scene: Any, tmp_path: Path) -> None:
    of = radiance.blob(1)
    volume = show(api, scene, of, tmp_path)
    group = next(node for node in volume.data.materials[0].node_tree.nodes if node.type == "GROUP")
    group.inputs["Density Scale"].default_value = 1.7
    group.inputs["Strength"].default_value = 0.6
    assert compare(scene, of, volume, tmp_path, density_scale=1.7, strength=0.6) >= SOFT


def test_step_follows_the_object(api: Any, scene: Any, tmp_path: Path) -> None:
    of = radiance.blob(0)
    volume = show(api, scene, of, tmp_path)
    for matrix in (TURNED, Matrix.Rotation(radians(45), 4, "Z") @ Matrix.Scale(0.5, 4)):
        volume.matrix_world = matrix
        scene.view_layers[0].update()
        evaluated = volume.data.materials[0].evaluated_get(bpy.context.evaluated_depsgraph_get())
        step = volume.data.render.step_size * evaluated.cycles.volume_step_rate
        assert step == pytest.approx(0.5 * (of.voxel * np.array(matrix.to_scale())).min(), rel=1e-5)
