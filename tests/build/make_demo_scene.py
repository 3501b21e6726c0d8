"""Makes blender_plenovdb/demo_scene from the NeRF-synthetic chair at 400x400.

    python tests/build/make_demo_scene.py ../shared/data/nerf_synthetic/chair_400 blender_plenovdb/demo_scene

Photos are halved by averaging 2x2 pixels of premultiplied light: what a camera with pixels twice as wide would have
measured. Averaging encoded values instead would darken every edge, and the trainer composites light.
Needs numpy and Pillow; the same input gives the same pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TRAIN_VIEWS = 60
TEST_VIEWS = 10

LICENSE_TEXT = """\
Chair: the demo scene of PlenoVDB
================================

The photos in train/ and test/ are reduced versions (200x200) of the "chair" scene of the NeRF-synthetic data set
(Mildenhall et al., "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis", ECCV 2020).

Model: "1DInc", Blend Swap (blendswap.com), released under Creative Commons CC0 1.0 Universal (public domain
dedication): https://creativecommons.org/publicdomain/zero/1.0/

You may copy, change, distribute and show these files, also commercially, without asking permission.

Changes: {train} of the 100 training views and {test} of the test views, averaged down to 200x200 pixels in linear
light by tests/build/make_demo_scene.py.
"""


def srgb_to_light(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decode sRGB values in 0..1 to light."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Encode light in 0..1 as sRGB."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0) ** (1 / 2.4) - 0.055)


def halve(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average 2x2 pixels of an RGBA image [H, W, 4] (straight alpha, sRGB) to [H/2, W/2, 4]."""
    pixels = photo.astype(np.float64) / 255.0
    alpha = pixels[..., 3:]
    premultiplied = np.concatenate([srgb_to_light(pixels[..., :3]) * alpha, alpha], axis=-1)
    height, width, _ = premultiplied.shape
    mean = premultiplied.reshape(height // 2, 2, width // 2, 2, 4).mean(axis=(1, 3))
    light = mean[..., :3] / np.maximum(mean[..., 3:], 1e-12)
    result = np.concatenate([light_to_srgb(light), mean[..., 3:]], axis=-1)
    rounded: NDArray[np.uint8] = np.rint(np.clip(result, 0.0, 1.0) * 255.0).astype(np.uint8)
    rounded[rounded[..., 3] == 0] = 0  # a colour nobody sees would only make the file larger
    return rounded


def evenly(count: int, wanted: int) -> list[int]:
    """`wanted` indices spread evenly over 0..count-1."""
    return [index * count // wanted for index in range(wanted)]


def make_split(source: Path, target: Path, split: str, wanted: int) -> int:
    """Write one split's photos and its transforms file; return how many views it has."""
    transforms = json.loads((source / f"transforms_{split}.json").read_text(encoding="utf-8"))
    chosen = evenly(len(transforms["frames"]), wanted)
    frames = []
    (target / split).mkdir(parents=True, exist_ok=True)
    for index in chosen:
        frame = transforms["frames"][index]
        name = Path(frame["file_path"]).name
        with Image.open(source / split / f"{name}.png") as image:
            small = Image.fromarray(halve(np.asarray(image.convert("RGBA"))), "RGBA")
        small.save(target / split / f"{name}.png", optimize=True)
        frames.append({"file_path": f"./{split}/{name}", "transform_matrix": frame["transform_matrix"]})
    # One frame a line: a reader sees the views, a diff shows what changed.
    lines = ",\n".join(f"  {json.dumps(frame)}" for frame in frames)
    text = f'{{\n "camera_angle_x": {transforms["camera_angle_x"]!r},\n "frames": [\n{lines}\n ]\n}}\n'
    (target / f"transforms_{split}.json").write_text(text, encoding="utf-8", newline="\n")
    return len(frames)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the chair at 400x400 (transforms_train.json in it)")
    parser.add_argument("target", type=Path, help="folder to write; existing photos of the same name are replaced")
    arguments = parser.parse_args()
    if not (arguments.source / "transforms_train.json").is_file():
        print(f"{arguments.source} holds no transforms_train.json: name the folder of chair_400.", file=sys.stderr)
        return 1
    train = make_split(arguments.source, arguments.target, "train", TRAIN_VIEWS)
    test = make_split(arguments.source, arguments.target, "test", TEST_VIEWS)
    text = LICENSE_TEXT.format(train=train, test=test)
    (arguments.target / "LICENSE.txt").write_text(text, encoding="utf-8", newline="\n")
    size = sum(path.stat().st_size for path in arguments.target.rglob("*") if path.is_file())
    print(f"{train} training and {test} held-out views, {size / 1e6:.2f} MB in {arguments.target}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
