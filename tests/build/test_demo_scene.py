"""The bundled photos: complete, small, free, and made by the script beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import make_demo_scene
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCENE = ROOT / "blender_plenovdb" / "demo_scene"
SOURCE = ROOT.parent / "shared" / "data" / "nerf_synthetic" / "chair_400"


@pytest.mark.parametrize(("split", "views"), [("train", 60), ("test", 10)])
def test_every_frame_has_its_photo_and_nothing_else_lies_about(split: str, views: int) -> None:
    transforms = json.loads((SCENE / f"transforms_{split}.json").read_text(encoding="utf-8"))
    listed = {f"{frame['file_path']}.png".removeprefix("./") for frame in transforms["frames"]}
    assert len(listed) == len(transforms["frames"]) == views
    assert listed == {path.relative_to(SCENE).as_posix() for path in (SCENE / split).iterdir()}


def test_it_is_small_and_says_that_it_is_free() -> None:
    assert sum(path.stat().st_size for path in SCENE.rglob("*")) < 3e6
    note = (SCENE / "LICENSE.txt").read_text(encoding="utf-8")
    assert "CC0" in note
    assert "1DInc" in note


def test_halving_averages_light_and_ignores_what_is_transparent() -> None:
    photo = np.zeros((2, 4, 4), np.uint8)
    photo[:, 0] = (255, 255, 255, 255)  # white beside black: half the light is 188, not 128
    photo[:, 1] = (0, 0, 0, 255)
    photo[:, 2] = (200, 100, 50, 255)  # a colour beside transparent green keeps its colour
    photo[:, 3] = (0, 255, 0, 0)
    assert make_demo_scene.halve(photo).tolist() == [[[188, 188, 188, 255], [200, 100, 50, 128]]]


def test_the_script_makes_these_very_photos(tmp_path: Path) -> None:
    if not SOURCE.is_dir():
        pytest.skip("../shared/data is not beside this checkout")

    make_demo_scene.make_split(SOURCE, tmp_path, "test", make_demo_scene.TEST_VIEWS)
    made = (tmp_path / "transforms_test.json").read_text(encoding="utf-8")
    assert made == (SCENE / "transforms_test.json").read_text(encoding="utf-8")
    for path in (SCENE / "test").iterdir():
        with Image.open(path) as bundled, Image.open(tmp_path / "test" / path.name) as again:
            assert np.array_equal(np.asarray(bundled), np.asarray(again)), path.name
