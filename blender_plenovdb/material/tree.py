"""Writing node trees as formulas: each call adds a node and returns its output; frames name the parts for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy

Socket = bpy.types.NodeSocket
Value = bpy.types.NodeSocket | float | tuple[float, ...]

_COLUMN, _ROW, _GAP = 190.0, 46.0, 90.0


class TreeWriter:
    """Adds nodes to a shader node tree, and lays them out by depth (columns) and frame (bands)."""

    def __init__(self, tree: bpy.types.ShaderNodeTree) -> None:
        self.tree = tree
        self._frame: bpy.types.Node | None = None
        self._depth: dict[str, int] = {}

    @contextmanager
    def frame(self, label: str) -> Iterator[None]:
        """Nodes made inside belong to a frame with this label."""
        outer = self._frame
        frame: Any = self.tree.nodes.new("NodeFrame")
        self._frame = frame
        frame.label = frame.name = label
        frame.label_size = 32
        try:
            yield
        finally:
            self._frame = outer

    def node(self, kind: str, label: str = "", *inputs: Value, collapsed: bool = False) -> Any:
        """A node of type `kind` with its first inputs linked or set in order."""
        node = self.tree.nodes.new(kind)
        node.parent = self._frame
        node.hide = collapsed
        if label:
            node.label = label
        for socket, value in zip(node.inputs, inputs, strict=False):
            self.feed(socket, value)
        self._depth.setdefault(node.name, 0)
        return node

    def feed(self, socket: Any, value: Value) -> None:
        """Links or sets one input."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
            depth = self._depth.get(value.node.name, 0) + 1
            self._depth[socket.node.name] = max(self._depth.get(socket.node.name, 0), depth)
        else:
            socket.default_value = value

    def math(self, operation: str, *inputs: Value, label: str = "") -> Socket:
        node = self.node("ShaderNodeMath", label, *inputs, collapsed=True)
        node.operation = operation
        return node.outputs["Value"]

    def vector(self, operation: str, *inputs: Value, label: str = "", output: str = "Vector") -> Socket:
        node = self.node("ShaderNodeVectorMath", label, collapsed=True)
        node.operation = operation  # before the inputs: it decides which of them there are
        for socket, value in zip(node.inputs, inputs, strict=False):
            self.feed(socket, value)
        return node.outputs[output]

    def scale(self, vector: Value, factor: float, label: str = "") -> Socket:
        node = self.node("ShaderNodeVectorMath", label, collapsed=True)
        node.operation = "SCALE"
        self.feed(node.inputs["Vector"], vector)
        self.feed(node.inputs["Scale"], factor)
        return node.outputs["Vector"]

    def product(self, *factors: Value, label: str = "") -> Socket:
        """The product of two or more factors."""
        result = factors[0]
        for factor in factors[1:]:
            result = self.math("MULTIPLY", result, factor)
        assert isinstance(result, bpy.types.NodeSocket)
        if label:
            result.node.label = label
        return result

    def separate(self, vector: Socket, label: str = "") -> tuple[Socket, Socket, Socket]:
        node = self.node("ShaderNodeSeparateXYZ", label, vector, collapsed=True)
        return node.outputs[0], node.outputs[1], node.outputs[2]

    def combine(self, x: Value, y: Value, z: Value, label: str = "") -> Socket:
        return self.node("ShaderNodeCombineXYZ", label, x, y, z, collapsed=True).outputs[0]

    def attribute(self, name: str, output: str) -> Socket:
        node = self.node("ShaderNodeAttribute", name, collapsed=True)
        node.attribute_name = name
        return node.outputs[output]

    def lay_out(self) -> None:
        """Places every node: columns by the longest way from an input, one band of rows for each frame."""
        bands: dict[str, list[Any]] = {}
        for node in self.tree.nodes:
            if node.bl_idname != "NodeFrame":
                bands.setdefault(node.parent.name if node.parent else "", []).append(node)
        top = 0.0
        for nodes in bands.values():
            rows: dict[int, float] = {}
            for node in nodes:
                depth = self._depth.get(node.name, 0)
                used = rows.get(depth, 0.0)
                node.location = (depth * _COLUMN, top - used)
                rows[depth] = used + (_ROW if node.hide else 5 * _ROW)
            top -= max(rows.values()) + _GAP
        for node in self.tree.nodes:
            if node.bl_idname == "NodeGroupOutput":  # beside what it takes, not in a band of its own
                source = next(link.from_node for link in self.tree.links if link.to_node == node)
                node.location.y = source.location.y
