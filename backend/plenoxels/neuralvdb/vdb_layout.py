"""The frame of a .vdb file, read without OpenVDB: metadata, names and extents of its grids.

OpenVDB's own reader trusts lengths that it finds in a file, and its writer reports no full disk; both faults show here,
since the last grid must end where the file ends. The layout is that of file format 222 and later (OpenVDB 3 to 13).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = struct.pack("<q", 0x56444220)
_OLDEST_FORMAT = 222
_MAX_TEXT = 64 * 1024
_MAX_ENTRIES = 10_000
_HALF_SUFFIX = "_HalfFloat"


@dataclass(frozen=True)
class GridEntry:
    """One grid of a file.

    Attributes:
        name: may repeat in foreign files.
        tree: its type, e.g. `Tree_float_5_4_3`, without the note about half floats.
        half: whether floats are stored with 16 bits.
        start, end: bytes of the file that hold it.
    """

    name: str
    tree: str
    half: bool
    start: int
    end: int


@dataclass(frozen=True)
class VdbLayout:
    """What stands in front of the voxels.

    Attributes:
        metadata: the file's own metadata; only values of type string.
        grids: in the file's order.
        library: OpenVDB's version that wrote it.
        size: bytes.
    """

    metadata: dict[str, str]
    grids: list[GridEntry]
    library: tuple[int, int]
    size: int


def read_layout(path: Path, max_metadata: int) -> VdbLayout:
    """Reads a file's frame, a few kilobytes and one seek per grid.

    Args:
        path: the file.
        max_metadata: longest metadata value in bytes.

    Raises:
        OSError: the file cannot be opened.
        ValueError: half a sentence: it is no .vdb, cut off, or beyond the limits.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file, size)
        if reader.take(8) != _MAGIC:
            raise ValueError("it is not an OpenVDB file")
        (version, major, minor) = reader.unpack("<III")
        if not _OLDEST_FORMAT <= version < 10_000:
            raise ValueError(f"its OpenVDB file format {version} is not known")
        has_offsets = reader.take(1)
        if has_offsets != b"\1":
            raise ValueError("it was written as a stream, without the table of its grids")
        reader.take(36)  # UUID
        metadata = _read_metadata(reader, max_metadata)
        (count,) = reader.unpack("<i")
        if not 0 <= count <= _MAX_ENTRIES:
            raise ValueError(f"it claims to hold {count} grids")
        grids = []
        for _ in range(count):
            grid = _read_grid(reader)
            grids.append(grid)
            file.seek(grid.end)
        if file.tell() != size:
            raise ValueError(f"its grids take {file.tell():,} bytes, but it has {size:,}")
    return VdbLayout(metadata, grids, (major, minor), size)


class _Reader:
    """Reads little-endian values and never more than the file holds."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    def take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("it is cut off")
        return data

    def unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def text(self, limit: int = _MAX_TEXT) -> str:
        (length,) = self.unpack("<I")
        if length > self.size:
            raise ValueError("it is cut off or damaged")
        if length > limit:
            raise ValueError(f"it holds a text of {length:,} bytes; at most {limit:,} are accepted")
        return self.take(length).decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        if self._file.tell() + count > self.size:
            raise ValueError("it is cut off or damaged")
        self._file.seek(count, 1)

    def position(self) -> int:
        return self._file.tell()


def _read_metadata(reader: _Reader, max_metadata: int) -> dict[str, str]:
    (count,) = reader.unpack("<I")
    if count > _MAX_ENTRIES:
        raise ValueError(f"it claims to hold {count} metadata entries")
    values: dict[str, str] = {}
    for _ in range(count):
        name, kind = reader.text(), reader.text()
        if kind == "string":
            values[name] = reader.text(max_metadata)
        else:
            (length,) = reader.unpack("<I")
            reader.skip(length)
    return values


def _read_grid(reader: _Reader) -> GridEntry:
    name, tree, _parent = reader.text(), reader.text(), reader.text()
    start, block, end = reader.unpack("<qqq")
    if not reader.position() <= start <= block <= end <= reader.size:
        raise ValueError(f"it is cut off or damaged at the grid '{name}'")
    # Repeated names are stored with a number behind a separator.
    return GridEntry(name.split("\x1e")[0], tree.removesuffix(_HALF_SUFFIX), tree.endswith(_HALF_SUFFIX), start, end)
