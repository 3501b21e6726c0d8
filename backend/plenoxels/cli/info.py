"""`info`: what a field file holds, without reading its voxels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from plenoxels.errors import OpenVDBMissing
from plenoxels.neuralvdb.metadata import MAX_METADATA_BYTES
from plenoxels.neuralvdb.openvdb_module import load_openvdb
from plenoxels.neuralvdb.vdb_layout import read_layout
from plenoxels.neuralvdb.vdb_reader import read_metadata


def run(arguments: argparse.Namespace) -> int:
    values = describe(arguments.file)
    if arguments.json:
        print(json.dumps(values))
        return 0
    training = values["training"]
    bounds = values["scene_bounds"]
    voxels = values["voxels"]
    psnr = training["held_out_psnr"]
    rows = [
        ("file", f"{values['file']}, {values['bytes'] / 1e6:.1f} MB"),
        ("resolution", "x".join(map(str, values["resolution"])) + (f", {voxels:,} active voxels" if voxels else "")),
        ("bounds", f"{_numbers(bounds[:3])} to {_numbers(bounds[3:])}"),
        ("harmonics", f"degree {values['sh_degree']}, {values['float_bits']}-bit floats"),
        ("compositing", f"{values['compositing']} over {_numbers(values['background'])}"),
        ("level of detail", str(values["lod_level"])),
        ("step", f"{values['step_size']:.6g} world units"),
        ("trained", f"{training['iterations']:,} steps, {training['seconds']:.0f} s on {training['dataset'] or '?'}"),
        ("held-out PSNR", "not measured" if psnr is None else f"{psnr:.2f} dB"),
        ("written by", values["generator"]),
    ]
    for name, text in rows:
        print(f"{name:16}{text}")
    return 0


def describe(path: Path) -> dict[str, Any]:
    """The metadata, and `file`, `bytes`, `float_bits`, `voxels` (null without OpenVDB), `grids` (name to bytes)."""
    metadata = read_metadata(path)
    layout = read_layout(path, MAX_METADATA_BYTES)
    density = next((grid for grid in layout.grids if grid.name == "density"), None)
    return {
        **metadata.to_json(),
        "file": str(path),
        "bytes": layout.size,
        "float_bits": 16 if density and density.half else 32,
        "voxels": _voxels(path),
        "grids": {grid.name: grid.end - grid.start for grid in layout.grids},
    }


def _voxels(path: Path) -> int | None:
    """The number of active voxels as OpenVDB noted it when it wrote the file."""
    try:
        openvdb = load_openvdb()
    except OpenVDBMissing:
        return None
    try:
        for grid in openvdb.readAllGridMetadata(str(path)):
            if grid.name == "density":
                return int(grid.metadata["file_voxel_count"])
    except (OSError, RuntimeError, LookupError, TypeError, ValueError):
        return None
    return None


def _numbers(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
