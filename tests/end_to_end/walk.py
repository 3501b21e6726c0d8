"""Walks the road once and prints what it found as JSON on the last line: one Blender process of the end-to-end test."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import bpy
import road


def walk(extension: Path, output: Path, seconds: float, views: int) -> dict[str, Any]:
    """Train for some seconds, import, render held-out views, save, and open what was saved in another place."""
    api = road.install_extension(extension)
    scene = road.active_scene()
    job = output / "job"
    bpy.ops.plenovdb.use_demo_scene()
    dataset = Path(bpy.path.abspath(scene.plenovdb.dataset))
    road.start_training(dataset, job, preset="draft", max_seconds=seconds)
    status = api.wait(job, timeout=300)
    status.raise_if_failed()
    field = road.place_field(job, output)
    volume, levels = road.import_everything(field, job)
    comparisons = road.compare_held_out(scene, field, job, output / "held_out", limit=views)
    road.save_scene(output / "scene.blend")
    return {
        "state": status.state,
        "blender": bpy.app.version_string,
        "levels": levels,
        "material": volume.active_material.name if volume.active_material else None,
        "views": [
            {
                "name": view.name,
                "background_photo": view.background_photo,
                "trainer_photo": view.trainer_photo,
                "cycles_photo": view.cycles_photo,
                "cycles_trainer": view.cycles_trainer,
            }
            for view in comparisons
        ],
        "reopened": reopen_elsewhere(output),
    }


def reopen_elsewhere(output: Path) -> dict[str, Any]:
    """Move scene.blend and the volumes to another folder, open it there, and say what is in place."""
    elsewhere = output.with_name(output.name + " moved")
    elsewhere.mkdir()
    for path in (output / "scene.blend", *output.glob("field*.vdb")):
        shutil.move(path, elsewhere / path.name)
    bpy.ops.wm.open_mainfile(filepath=str(elsewhere / "scene.blend"))
    scene = road.active_scene()
    (volume,) = [item for item in scene.objects if item.type == "VOLUME"]
    return {
        "volume_path": volume.data.filepath,
        "grids": [grid.name for grid in volume.data.grids] if volume.data.grids.load() else [],
        "error": volume.data.grids.error_message,
        "cameras": sum(item.type == "CAMERA" for item in scene.objects),
        "active_camera": scene.camera.name if scene.camera else None,
        "engine": scene.render.engine,
        "volume_packed": volume.data.packed_file is not None,
        "photos_packed": all(image.packed_file for image in bpy.data.images if image.source == "FILE"),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extension", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--views", type=int, default=3)
    arguments = parser.parse_args()
    result = walk(arguments.extension, arguments.output, arguments.seconds, arguments.views)
    print(json.dumps(result), flush=True)
    sys.stderr.flush()
    os._exit(0)  # pip's bpy was seen to hang while Python shuts down
