"""Photos in, a volume in Blender out, with the real trainer, the real extension and the real Cycles."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def walked(backend_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one walk found; a Blender of its own, with an empty user folder, in a path with spaces and accents."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("bpy is not installed in this environment")
    import build_addon

    archive = build_addon.build_extension(ROOT)
    folder = tmp_path_factory.mktemp("Straße nach Blender")
    output = folder / "out put"
    output.mkdir()
    caches = Path(os.environ.get("WARP_CACHE_PATH", folder / "warp"))
    variables = build_addon.clean_environment(
        BLENDER_USER_RESOURCES=str(folder / "blender"), PLENOVDB_PYTHON=backend_python, WARP_CACHE_PATH=str(caches)
    )
    answer = subprocess.run(
        [sys.executable, "-E", "-s", HERE / "walk.py", "--extension", archive, "--output", output],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=280,
        check=False,
    )
    said = f"{answer.stdout[-3000:]}\n{answer.stderr[-6000:]}"
    if (train_log := output / "job" / "train.log").is_file():
        said += f"\ntrain.log:\n{train_log.read_text(encoding='utf-8', errors='replace')[-3000:]}"
    assert answer.returncode == 0, said
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))
    return found


@pytest.mark.slow
def test_training_from_blender_finishes_and_leaves_levels_of_detail(walked: dict[str, Any]) -> None:
    assert walked["state"] == "finished"
    assert walked["levels"] >= 1
    assert walked["material"]


@pytest.mark.slow
def test_cycles_shows_what_the_trainer_saw(walked: dict[str, Any]) -> None:
    assert len(walked["views"]) == 3
    for view in walked["views"]:
        assert view["cycles_trainer"] >= 45, view


@pytest.mark.slow
def test_cycles_is_as_close_to_the_photo_as_the_trainer(walked: dict[str, Any]) -> None:
    for view in walked["views"]:
        assert abs(view["cycles_photo"] - view["trainer_photo"]) <= 0.1, view


@pytest.mark.slow
def test_the_volume_shows_the_photo(walked: dict[str, Any]) -> None:
    """A few seconds of training, on a machine that may be busy: far from done, far better than nothing."""
    for view in walked["views"]:
        assert view["cycles_photo"] > view["background_photo"] + 3, view


@pytest.mark.slow
def test_the_saved_scene_opens_in_another_folder(walked: dict[str, Any]) -> None:
    reopened = walked["reopened"]
    assert reopened["volume_path"] == "//field.vdb"
    assert reopened["error"] == ""
    assert {"density", "sh_0"} <= set(reopened["grids"])
    assert reopened["cameras"] == 70
    assert reopened["active_camera"]
    assert reopened["engine"] == "CYCLES"
    assert reopened["photos_packed"]
    assert not reopened["volume_packed"]
