"""Where Blender draws a volume, and what brings it to where the file says. Imports no bpy.

Two deviations are known, both in object axes and measured by rendering (tests/blender/test_blender_fidelity.py):
- Before 5.0 Blender takes a voxel's index for its corner instead of its centre: everything is half a voxel off.
- From 5.1 Cycles moves every volume by up to 0.001 object units, a hash of the object's name, so that the bounds of
  overlapping volumes do not coincide; in 5.1 by the same length along all axes.
  In a field of 256 voxels a unit that is a quarter of a voxel.
"""

from __future__ import annotations

Vector = tuple[float, float, float]

HALF_VOXEL_UNTIL = (5, 0, 0)
NAME_OFFSET_SINCE = (5, 1, 0)
NAME_OFFSET_BY_AXIS_SINCE = (5, 2, 0)
NAME_OFFSET = 0.001
"""Largest offset by name, in object units."""

_MASK = 0xFFFFFFFF


def correction(version: tuple[int, ...], engine: str, name: str, voxel_size: Vector) -> Vector:
    """The translation in object axes that puts a volume where the VDB contract says.

    version: Blender's; engine: the scene's render engine; name: the object's; voxel_size: of the level shown.
    """
    if version < HALF_VOXEL_UNTIL:
        return (-voxel_size[0] / 2, -voxel_size[1] / 2, -voxel_size[2] / 2)
    if version >= NAME_OFFSET_SINCE and engine == "CYCLES":
        x, y, z = offset_by_name(name, by_axis=version >= NAME_OFFSET_BY_AXIS_SINCE)
        return (-x, -y, -z)
    return (0.0, 0.0, 0.0)


def offset_by_name(name: str, *, by_axis: bool = True) -> Vector:
    """What Cycles adds, in object units."""
    key = _hash_string(name.encode())
    hashes = [_hash(key, axis) for axis in range(3)] if by_axis else [_hash(key)] * 3
    x, y, z = (value / _MASK * NAME_OFFSET for value in hashes)
    return x, y, z


def _hash_string(text: bytes) -> int:
    value = 0
    for byte in text:
        value = (value * 37 + byte) & _MASK
    return value


def _hash(*words: int) -> int:
    """Bob Jenkins' lookup3 of one or two words, as Cycles uses it."""
    a = b = c = (0xDEADBEEF + (len(words) << 2) + 13) & _MASK
    first, second = (*words, 0)[:2]
    a, b = (a + first) & _MASK, (b + second) & _MASK
    c = ((c ^ b) - _rotate(b, 14)) & _MASK
    a = ((a ^ c) - _rotate(c, 11)) & _MASK
    b = ((b ^ a) - _rotate(a, 25)) & _MASK
    c = ((c ^ b) - _rotate(b, 16)) & _MASK
    a = ((a ^ c) - _rotate(c, 4)) & _MASK
    b = ((b ^ a) - _rotate(a, 14)) & _MASK
    return ((c ^ b) - _rotate(b, 24)) & _MASK


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK
