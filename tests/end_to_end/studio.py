"""The demo's picture: the trained volume standing on a floor, lit by a lamp, mirrored in a steel ball.

It shows what only a volume in Blender can do: it hides and is hidden, casts shadows, is seen in mirrors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

NAME = "Studio"
SIZE = 512
SAMPLES = 8  # the volume itself has no noise, and the denoiser takes care of the floor's
# A plane of voxels belongs to the thing when this many of them are this opaque across one voxel.
SOLID_DEPTH, SOLID_VOXELS = 0.2, 4


def make(scene: bpy.types.Scene, volume: bpy.types.Object, field: Path) -> bpy.types.Scene:
    """A second scene with the same volume; the first one stays comparable with the photos.

    field: the volume's file or a coarser level of it, to see where the thing stands.
    """
    studio: bpy.types.Scene = bpy.data.scenes.new(NAME)
    studio.collection.objects.link(volume)
    low, high = solid_bounds(field)
    centre, size = (low + high) / 2, max(high[axis] - low[axis] for axis in range(3))

    floor = bpy.data.meshes.new("Floor")
    half = 30 * size
    floor.from_pydata([(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)], [], [(0, 1, 2, 3)])
    floor.materials.append(material("Floor", (0.42, 0.38, 0.34), roughness=0.35))
    add(studio, "Floor", floor, Vector((centre.x, centre.y, low.z)))

    radius = 0.19 * size
    ball = ball_mesh("Steel ball", radius)
    ball.materials.append(material("Steel", (0.9, 0.9, 0.9), metallic=1.0, roughness=0.03))
    add(studio, "Steel ball", ball, Vector((centre.x + 0.62 * size, centre.y + 0.02 * size, low.z + radius)))

    lamp = bpy.data.lights.new("Sun", "SUN")
    lamp.energy, lamp.angle = 3.0, math.radians(4)
    item = add(studio, "Sun", lamp, centre + size * Vector((-1.2, -0.9, 1.9)))
    item.rotation_euler = (centre - item.location).to_track_quat("-Z", "Y").to_euler()

    lens = bpy.data.cameras.new("Studio camera")
    lens.lens = 60
    aim = centre + size * Vector((0.16, 0.0, -0.04))
    camera = add(studio, "Studio camera", lens, aim + 2.3 * size * Vector((0.5, -0.94, 0.36)))
    camera.rotation_euler = (aim - camera.location).to_track_quat("-Z", "Y").to_euler()
    studio.camera = camera

    world = bpy.data.worlds.new("Studio")
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (0.72, 0.76, 0.82, 1)
    background.inputs["Strength"].default_value = 0.8
    studio.world = world
    set_up_render(studio, like=scene)
    return studio


def solid_bounds(field: Path) -> tuple[Vector, Vector]:
    """Where the field is dense enough to be seen as a thing: lowest and highest corner, in world units.

    The volume's own bounding box also holds the thin haze around it, on which nothing can stand.
    """
    bpy.utils.expose_bundled_modules()
    import openvdb

    grid = openvdb.read(str(field), "density")
    first, last = grid.evalActiveVoxelBoundingBox()
    density = np.zeros([end - start + 1 for start, end in zip(first, last, strict=True)], np.float32)
    grid.copyToArray(density, ijk=first)
    depth = density * np.array(grid.transform.voxelSize()).min()
    corners = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        (planes,) = np.nonzero((depth > SOLID_DEPTH).sum(axis=others) >= SOLID_VOXELS)
        corners.append((planes[0] + first[axis] - 0.5, planes[-1] + first[axis] + 0.5))
    low, high = (grid.transform.indexToWorld(corner) for corner in zip(*corners, strict=True))
    return Vector(low), Vector(high)


def set_up_render(studio: bpy.types.Scene, like: bpy.types.Scene) -> None:
    """Cycles with the volume settings that the extension chose for `like`, and a picture meant for people."""
    studio.render.engine = "CYCLES"  # type: ignore[assignment]  # the stubs know no engine that is an add-on
    for name in ("volume_biased", "volume_max_steps"):
        if hasattr(like.cycles, name):
            setattr(studio.cycles, name, getattr(like.cycles, name))
    # Whole voxels instead of the halves that fidelity asks for: half the time, and no eye sees it here.
    studio.cycles.volume_step_rate = 2.0
    studio.cycles.samples = SAMPLES
    studio.cycles.use_adaptive_sampling = True
    studio.cycles.use_denoising = True
    # Every bounce marches through the volume once more: the ball needs its mirrored rays, the floor only its shadows.
    studio.cycles.max_bounces, studio.cycles.diffuse_bounces, studio.cycles.volume_bounces = 2, 0, 0
    studio.cycles.transparent_max_bounces = like.cycles.transparent_max_bounces
    studio.view_settings.view_transform = like.view_settings.view_transform
    studio.render.resolution_x = studio.render.resolution_y = SIZE
    studio.render.resolution_percentage = 100


def render(path: Path, report: Callable[[str], None]) -> None:
    """Render the studio's camera into a PNG."""
    report(f"{SIZE}x{SIZE} pixels, {SAMPLES} samples")
    studio = bpy.data.scenes[NAME]
    studio.render.image_settings.file_format = "PNG"
    studio.render.filepath = str(path)
    bpy.ops.render.render(write_still=True, scene=studio.name)


def add(scene: bpy.types.Scene, name: str, data: bpy.types.ID, location: Vector) -> bpy.types.Object:
    item = bpy.data.objects.new(name, data)
    item.location = location
    scene.collection.objects.link(item)
    return item


def ball_mesh(name: str, radius: float, rings: int = 32) -> bpy.types.Mesh:
    """A smooth sphere of quads; bmesh would do, but this has no context to keep."""
    points = [
        (radius * math.sin(v) * math.cos(u), radius * math.sin(v) * math.sin(u), radius * math.cos(v))
        for v in (math.pi * row / rings for row in range(rings + 1))
        for u in (2 * math.pi * column / (2 * rings) for column in range(2 * rings))
    ]
    around = 2 * rings
    faces = [
        (row * around + column, (row + 1) * around + column, (row + 1) * around + after, row * around + after)
        for row in range(rings)
        for column, after in ((column, (column + 1) % around) for column in range(around))
    ]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    mesh.shade_smooth()
    return mesh


def material(name: str, colour: tuple[float, float, float], **inputs: float) -> bpy.types.Material:
    """A Principled material; `inputs` by the sockets' names in lower case."""
    made = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        made.use_nodes = True
    shader = next(node for node in made.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*colour, 1)
    for key, value in inputs.items():
        shader.inputs[key.title()].default_value = value
    return made
