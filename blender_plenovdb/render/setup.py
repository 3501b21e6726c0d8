"""World, view transform, the engines' volume settings and the camera, as fidelity needs them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import bpy

from ..cameras.importing import apply_size, imported_cameras
from ..errors import PlenoError
from ..volume.levels import fields_of, is_field
from ..volume.modifier import VOXEL_SIZE_KEY, place

WORLD_NAME = "PlenoVDB Background"
PIXEL_EXACT_SAMPLES = 16
"""More change nothing: a narrow filter makes each sample of a pixel the same ray."""

EEVEE_TILE = "2"
EEVEE_SLICES = 128
"""Finer than EEVEE's defaults, which blur thin things; 1 and 256 would take eight times the memory."""

MAX_STEPS = 65536
MIN_STEPS = 1024


@dataclass(frozen=True)
class SceneSetup:
    """What was set, for people. background: linear RGB of the world; steps: Cycles' largest number in a volume."""

    camera: str
    background: tuple[float, float, float]
    view_transform: str
    steps: int
    warnings: tuple[str, ...]


def setup_scene(
    scene: bpy.types.Scene,
    *,
    volume_object: bpy.types.Object | None = None,
    camera: bpy.types.Object | None = None,
    pixel_exact: bool = True,
) -> SceneSetup:
    """See `api.setup_scene`."""
    fields = fields_of(scene)
    if volume_object is None and fields:
        volume_object = fields[0]
    if volume_object is None or not is_field(volume_object):
        raise PlenoError(f"The scene {scene.name} has no PlenoVDB volume.", "Import a field first.")
    for layer in scene.view_layers:
        layer.update()  # world scales are read below
    volume: Any = volume_object.data
    linear = volume.plenovdb.compositing == "linear"
    encoded = tuple(volume.plenovdb.background)
    # Encoded fields are composited and shown as plain values, so their background stays one as well.
    red, green, blue = (decode_srgb(value) if linear else value for value in encoded)
    _set_world(scene, (red, green, blue))
    _set_view(scene, "Standard" if linear else "Raw")
    steps = _set_cycles(scene, fields or [volume_object])
    _set_eevee(scene)
    if pixel_exact:
        _set_pixel_exact(scene)
    for field in fields:
        place(field, scene.render.engine)
    if camera is None:
        cameras = imported_cameras(scene)
        camera = scene.camera if scene.camera in cameras else next(iter(cameras), scene.camera)
    warnings = []
    if camera is not None:
        apply_size(scene, camera)
    else:
        warnings.append("The scene has no camera: import the job's cameras.")
    if len({field.data.plenovdb.compositing for field in fields if isinstance(field.data, bpy.types.Volume)}) > 1:
        warnings.append("The scene has linear and encoded fields: one view transform cannot suit both.")
    return SceneSetup(
        camera.name if camera is not None else "",
        (red, green, blue),
        scene.view_settings.view_transform,
        steps,
        tuple(warnings),
    )


def decode_srgb(value: float) -> float:
    """The sRGB curve from an encoded value to light."""
    value = max(0.0, value)
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def needed_steps(volume_object: bpy.types.Object) -> int:
    """Half-voxel steps of the longest ray through the bounds: the diagonal, as the object is scaled now."""
    volume: Any = volume_object.data
    scale: Any = volume_object.matrix_world.to_scale()
    shortest = min(size * abs(factor) for size, factor in zip(volume[VOXEL_SIZE_KEY], scale, strict=True))
    low, high = volume.plenovdb.bounds_min, volume.plenovdb.bounds_max
    diagonal = math.dist((0.0, 0.0, 0.0), [(b - a) * f for a, b, f in zip(low, high, scale, strict=True)])
    return math.ceil(1.05 * diagonal / max(shortest / 2, 1e-9)) + 16


def _set_world(scene: bpy.types.Scene, colour: tuple[float, float, float]) -> None:
    """A world of this colour alone; the user's own world stays in the file."""
    world = bpy.data.worlds.get(WORLD_NAME) or bpy.data.worlds.new(WORLD_NAME)
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    tree = world.node_tree
    assert tree is not None
    tree.nodes.clear()
    background: Any = tree.nodes.new("ShaderNodeBackground")
    background.inputs["Color"].default_value = (*colour, 1.0)
    background.inputs["Strength"].default_value = 1.0
    output = tree.nodes.new("ShaderNodeOutputWorld")
    output.location = (250.0, 0.0)
    tree.links.new(background.outputs["Background"], output.inputs["Surface"])
    world.color = colour
    world.use_fake_user = False
    if scene.world is not None and scene.world != world:
        scene.world.use_fake_user = True  # it would be lost on saving
    scene.world = world


def _set_view(scene: bpy.types.Scene, view_transform: str) -> None:
    scene.display_settings.display_device = "sRGB"
    view = scene.view_settings
    view.view_transform = view_transform
    view.look = "None"
    view.exposure, view.gamma = 0.0, 1.0
    view.use_curve_mapping = False


def _set_cycles(scene: bpy.types.Scene, fields: list[bpy.types.Object]) -> int:
    render: Any = scene.render  # the stubs know only EEVEE
    render.engine = "CYCLES"
    render.film_transparent = False
    cycles: Any = scene.cycles
    cycles.film_exposure = 1.0
    if hasattr(cycles, "volume_biased"):  # 5.0 and later; before, this was the only way
        cycles.volume_biased = True
    cycles.volume_step_rate = cycles.volume_preview_step_rate = 1.0
    steps = min(MAX_STEPS, max(MIN_STEPS, *(needed_steps(field) for field in fields)))
    cycles.volume_max_steps = steps
    return steps


def _set_eevee(scene: bpy.types.Scene) -> None:
    """For the viewport's material preview, and for those who choose EEVEE afterwards."""
    scene.eevee.volumetric_tile_size = EEVEE_TILE
    scene.eevee.volumetric_samples = EEVEE_SLICES


def _set_pixel_exact(scene: bpy.types.Scene) -> None:
    cycles: Any = scene.cycles
    cycles.samples = PIXEL_EXACT_SAMPLES
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.pixel_filter_type = "GAUSSIAN"
    cycles.filter_width = 0.01
    scene.render.dither_intensity = 0.0
