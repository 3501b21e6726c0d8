"""The node group of a field, and a material around it."""

from __future__ import annotations

import bpy

from .harmonics import basis
from .tree import Socket, TreeWriter

GROUP_KEY = "plenovdb_group"
GROUP_VERSION = 1

DENSITY_SCALE, STRENGTH = "Density Scale", "Strength"


def field_material(name: str, degree: int, compositing: str) -> bpy.types.Material:
    """A new volume material for a field of this degree. The node group is shared by all fields of the same kind."""
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    assert tree is not None
    tree.nodes.clear()
    group = tree.nodes.new("ShaderNodeGroup")
    group.node_tree = field_group(degree, compositing)
    group.label, group.width, group.location = "Radiance Field", 220.0, (-300.0, 0.0)
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(group.outputs["Volume"], output.inputs["Volume"])
    material.cycles.volume_interpolation = "LINEAR"
    return material


def field_group(degree: int, compositing: str) -> bpy.types.ShaderNodeTree:
    """The node group for a degree (0 to 3) and `linear` or `encoded`; made once a file and then reused."""
    kind = f"version {GROUP_VERSION}, degree {degree}, {compositing}"
    for tree in bpy.data.node_groups:
        if tree.get(GROUP_KEY) == kind and tree.library is None and isinstance(tree, bpy.types.ShaderNodeTree):
            return tree
    tree = bpy.data.node_groups.new(f"Radiance Field, Degree {degree}, {compositing.title()}", "ShaderNodeTree")
    assert isinstance(tree, bpy.types.ShaderNodeTree)
    tree[GROUP_KEY] = kind
    _sockets(tree)
    _fill(TreeWriter(tree), degree, compositing)
    return tree


def _sockets(tree: bpy.types.ShaderNodeTree) -> None:
    interface = tree.interface
    interface.new_socket("Volume", in_out="OUTPUT", socket_type="NodeSocketShader")
    for name, description in (
        (DENSITY_SCALE, "Factor on the density: above 1 denser, below 1 more transparent. 1 shows what was trained"),
        (STRENGTH, "Factor on the light: 2 is one stop brighter. 1 shows what was trained"),
    ):
        socket = interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat")
        socket.description = description
        socket.default_value = 1.0
        socket.min_value, socket.max_value = 0.0, 1000.0


def _fill(write: TreeWriter, degree: int, compositing: str) -> None:
    given = write.node("NodeGroupInput")
    with write.frame("View direction in object space"):
        direction, stretch = _direction(write, degree)
    values = basis(write, direction, degree)
    with write.frame("Colour: 0.5 + sum of harmonics"):
        colour: Socket | tuple[float, float, float] = (0.5, 0.5, 0.5)
        for number, factor in enumerate(values):
            coefficients = write.attribute(f"sh_{number}", "Vector")
            colour = write.vector("MULTIPLY_ADD", coefficients, factor, colour, label=f"+ Y{number} sh_{number}")
        colour = write.vector("MAXIMUM", colour, (0.0, 0.0, 0.0), label="not below 0")
    if compositing == "linear":
        with write.frame("sRGB value to light"):
            colour = _decode(write, colour)
    with write.frame("Density"):
        density = write.math("MAXIMUM", write.attribute("density", "Fac"), 0.0, label="not below 0")
        extinction = write.product(density, stretch, given.outputs[DENSITY_SCALE], label="per world length")
        strength = write.product(extinction, given.outputs[STRENGTH], label="emitted")
        occupied = write.math("GREATER_THAN", density, 0.0, label="not empty")
    with write.frame("Emission and absorption"):
        emission = write.node("ShaderNodeEmission", "", colour, strength)
        absorption = write.node("ShaderNodeVolumeAbsorption", "", (0.0, 0.0, 0.0, 1.0), extinction)
        both = write.node("ShaderNodeAddShader", "", emission.outputs[0], absorption.outputs[0])
        # With an empty first input Cycles skips everything above where the field is empty: three times faster.
        mix = write.node("ShaderNodeMixShader", "Skip empty space", occupied)
        write.feed(mix.inputs[2], both.outputs[0])
    write.node("NodeGroupOutput", "", mix.outputs[0])
    write.lay_out()


def _direction(write: TreeWriter, degree: int) -> tuple[Socket, Socket]:
    """The ray's unit direction in object space, and the object length of one world length along it.

    Incoming points to the camera, so it is turned round. The length makes density count per world length under any
    rotation, scale and shear.
    """
    transform = write.node("ShaderNodeVectorTransform", "World to object")
    transform.vector_type, transform.convert_from, transform.convert_to = "VECTOR", "WORLD", "OBJECT"
    write.feed(transform.inputs[0], write.node("ShaderNodeNewGeometry").outputs["Incoming"])
    incoming = transform.outputs[0]
    stretch = write.vector("LENGTH", incoming, label="Object per world length", output="Value")
    if degree == 0:
        return incoming, stretch
    away = write.scale(incoming, -1.0, label="Away from the camera")
    return write.vector("NORMALIZE", away, label="Unit direction"), stretch


def _decode(write: TreeWriter, colour: Socket) -> Socket:
    """The sRGB curve to light, channel by channel, above 1 by the same power."""
    low = write.scale(colour, 1.0 / 12.92, label="v / 12.92")
    shifted = write.scale(write.vector("ADD", colour, (0.055, 0.055, 0.055)), 1.0 / 1.055, label="(v + 0.055) / 1.055")
    red, green, blue = (write.math("POWER", channel, 2.4) for channel in write.separate(shifted))
    high = write.combine(red, green, blue)
    red, green, blue = (write.math("GREATER_THAN", channel, 0.04045) for channel in write.separate(colour))
    above = write.combine(red, green, blue)
    mix = write.node("ShaderNodeMix", "v > 0.04045", collapsed=True)
    mix.data_type, mix.factor_mode, mix.clamp_factor = "VECTOR", "NON_UNIFORM", False
    factor, first, second = (_vector_input(mix, name) for name in ("Factor", "A", "B"))
    write.feed(factor, above)
    write.feed(first, low)
    write.feed(second, high)
    return next(socket for socket in mix.outputs if socket.type == "VECTOR")


def _vector_input(mix: bpy.types.Node, name: str) -> bpy.types.NodeSocket:
    """The Mix node keeps the sockets of every data type under the same names."""
    return next(socket for socket in mix.inputs if socket.name == name and socket.type == "VECTOR")
