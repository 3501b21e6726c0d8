"""`render`: pictures of a field through the cameras of a file."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence

from PIL import Image

from plenoxels.camera_files import read_cameras
from plenoxels.cameras import View
from plenoxels.colour import to_bytes
from plenoxels.files import make_folder, replacing
from plenoxels.neuralvdb import read_field
from plenoxels.render.renderer import FieldRenderer


def run(arguments: argparse.Namespace) -> int:
    views = read_cameras(arguments.cameras, arguments.split)
    grid, metadata = read_field(arguments.file)
    make_folder(arguments.output)
    renderer = FieldRenderer(grid, metadata.config, arguments.device, arguments.threads)
    for name, view in zip(picture_names(views), views, strict=True):
        path = arguments.output / f"{name}.png"
        picture = to_bytes(renderer.render(view.intrinsics, view.camera_to_world))
        with replacing(path) as temporary:
            Image.fromarray(picture).save(temporary)
        print(path, flush=True)
    return 0


def picture_names(views: Sequence[View]) -> list[str]:
    """A file name for each view: its last part where that is unique, else all parts; only harmless characters."""
    names = [re.sub(r"[^\w.-]+", "_", view.name).strip("._") or "view" for view in views]
    last = [re.sub(r"[^\w.-]+", "_", view.name.replace("\\", "/").split("/")[-1]).strip("._") for view in views]
    if all(last) and len(set(map(str.casefold, last))) == len(last):
        return last
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name.casefold()] += 1
        unique.append(name if seen[name.casefold()] == 1 else f"{name}_{seen[name.casefold()]}")
    return unique
