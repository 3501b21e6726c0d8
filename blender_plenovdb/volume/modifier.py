"""The placement as a Geometry Nodes modifier: in object axes, so it holds under any rotation, scale and parent, and
the object's own transform stays the user's."""

from __future__ import annotations

import bpy

from .placement import correction

NAME = "PlenoVDB Placement"
VOXEL_SIZE_KEY = "plenovdb_voxel_size"
"""Custom property of the datablock: the shown level's voxels, in object units. The step's driver reads it too, so that
a file renders right where the extension is not installed."""

_KEY = "plenovdb_placement"
_TOLERANCE = 1e-9


def place(volume_object: bpy.types.Object, engine: str) -> bool:
    """Corrects where this Blender draws the object; returns whether anything had to change.

    engine: the render engine of the scene it is in. To be called again when level, name, engine or Blender change.
    """
    volume = volume_object.data
    assert isinstance(volume, bpy.types.Volume)
    x, y, z = volume[VOXEL_SIZE_KEY]
    wanted = correction(bpy.app.version, engine, volume_object.name, (x, y, z))
    modifier = volume_object.modifiers.get(NAME)
    if not any(wanted):
        if modifier is None:
            return False
        volume_object.modifiers.remove(modifier)
        return True
    if modifier is None:
        modifier = volume_object.modifiers.new(NAME, "NODES")
        modifier.show_expanded = False
        # First of all modifiers, so that the user's own ones see the field where it belongs.
        volume_object.modifiers.move(len(volume_object.modifiers) - 1, 0)
    assert isinstance(modifier, bpy.types.NodesModifier)
    if modifier.node_group is None or modifier.node_group.get(_KEY) is None:
        modifier.node_group = _translation_group()
    identifier = _offset_socket(modifier.node_group)
    if all(abs(a - b) <= _TOLERANCE for a, b in zip(_read(modifier, identifier), wanted, strict=True)):
        return False
    _write(modifier, identifier, wanted)
    volume_object.update_tag()
    return True


def _translation_group() -> bpy.types.NodeTree:
    for tree in bpy.data.node_groups:
        if tree.get(_KEY) is not None and tree.library is None:
            return tree
    tree = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    tree[_KEY] = 1
    interface = tree.interface
    interface.new_socket("Volume", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    interface.new_socket("Volume", in_out="INPUT", socket_type="NodeSocketGeometry")
    offset = interface.new_socket("Offset", in_out="INPUT", socket_type="NodeSocketVector")
    offset.description = "Brings the volume to where its file says, in object axes; kept up to date by PlenoVDB"
    given, result = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    transform = tree.nodes.new("GeometryNodeTransform")
    given.location, result.location = (-250.0, 0.0), (250.0, 0.0)
    tree.links.new(given.outputs["Volume"], transform.inputs["Geometry"])
    tree.links.new(given.outputs["Offset"], transform.inputs["Translation"])
    tree.links.new(transform.outputs["Geometry"], result.inputs["Volume"])
    return tree


def _offset_socket(tree: bpy.types.NodeTree) -> str:
    for item in tree.interface.items_tree:
        if item.name == "Offset":
            return str(item.identifier)
    raise KeyError("Offset")


def _read(modifier: bpy.types.NodesModifier, identifier: str) -> tuple[float, ...]:
    if bpy.app.version >= (5, 2, 0):
        return tuple(getattr(modifier.properties.inputs, identifier).value)
    return tuple(modifier[identifier])


def _write(modifier: bpy.types.NodesModifier, identifier: str, offset: tuple[float, float, float]) -> None:
    if bpy.app.version >= (5, 2, 0):
        getattr(modifier.properties.inputs, identifier).value = offset
    else:
        modifier[identifier] = offset
