"""Pinhole cameras, poses and camera files."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plenoxels.camera_files import path_below, read_cameras, read_frames, write_cameras
from plenoxels.cameras import Intrinsics, View
from plenoxels.errors import DatasetInvalid, DatasetMissing

POSE = [[1.0, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]


def write(folder: Path, frames: list, **top) -> Path:
    path = folder / "transforms.json"
    path.write_text(json.dumps({"frames": frames, **top}), encoding="utf-8")
    return path


def test_directions_follow_opengl_axes_and_pixel_centres() -> None:
    directions = Intrinsics(4, 2, 10.0, 20.0, 2.0, 1.0).local_directions()
    assert directions.shape == (8, 3)
    assert directions.dtype == np.float32
    upper_left = np.array([(0.5 - 2) / 10, (1 - 0.5) / 20, -1])
    np.testing.assert_allclose(directions[0], upper_left / np.linalg.norm(upper_left), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert directions[3, 0] > 0 > directions[0, 0]
    assert directions[0, 1] > 0 > directions[7, 1]


@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 60))
def test_a_downscaled_pixel_looks_where_the_middle_of_its_block_looked(n: int, width: int, height: int) -> None:
    full = Intrinsics(width * n + n - 1, height * n, 50.0, 60.0, 11.3, 7.9)
    small = full.downscaled(n)
    assert (small.width, small.height) == (width, height)
    x, y = (0.5 - small.cx) / small.fl_x, (0.5 - small.cy) / small.fl_y
    assert x == pytest.approx((0.5 * n - full.cx) / full.fl_x)
    assert y == pytest.approx((0.5 * n - full.cy) / full.fl_y)


def test_field_of_view_matches_the_published_focal_length() -> None:
    assert Intrinsics.from_field_of_view(800, 800, 0.6911112070083618).fl_x == pytest.approx(1111.1111, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m * 2, "0 0 0 1"),
        (lambda m: m * np.array([[2, 2, 2, 1]] * 3 + [[1, 1, 1, 1]]), "not a rotation"),
        (lambda m: m @ np.diag([-1, 1, 1, 1]), "mirrors"),
        (lambda m: m + np.nan, "not finite"),
        (lambda m: m + np.eye(4, k=3) * 1e12, "away from the origin"),
        (lambda m: m + np.eye(4) * 1e300, "0 0 0 1"),
        (lambda m: m[:3], "expected 4x4"),
    ],
)
def test_a_false_pose_is_refused_with_the_frames_name(change, sentence) -> None:
    with pytest.raises(ValueError, match=rf"frame 'r_7'.*{sentence}"):
        View("r_7", None, change(np.array(POSE)), Intrinsics(4, 4, 5, 5, 2, 2), "train")


def test_a_view_owns_its_pose() -> None:
    pose = np.array(POSE)
    view = View("a", None, pose, Intrinsics(4, 4, 5, 5, 2, 2), "train")
    pose[0, 3] = 99
    assert view.position.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        view.camera_to_world[0, 0] = 5


def test_cameras_json_comes_back_as_written(tmp_path: Path) -> None:
    intrinsics = Intrinsics(40, 30, 51.5, 52.5, 20.25, 14.75)
    views = [
        View("train/r_0", tmp_path / "r_0.png", np.array(POSE), intrinsics, "train"),
        View("test/r_1", tmp_path / "ü 1.png", np.array(POSE), intrinsics, "test"),
    ]
    write_cameras(tmp_path / "cameras.json", views, [-1, -1, -1, 1, 1, 1], "linear", (1.0, 1.0, 1.0))
    values = json.loads((tmp_path / "cameras.json").read_text(encoding="utf-8"))
    assert set(values) == {"frames", "scene_bounds", "compositing", "background"}
    assert Path(values["frames"][1]["file_path"]) == (tmp_path / "ü 1.png").resolve()
    back = read_cameras(tmp_path / "cameras.json")
    assert [v.split for v in back] == ["train", "test"]
    assert all(v.intrinsics == intrinsics for v in back)
    np.testing.assert_array_equal(back[1].camera_to_world, views[1].camera_to_world)
    assert len(read_cameras(tmp_path / "cameras.json", "test")) == 1
    with pytest.raises(DatasetInvalid, match="no frames of the split 'val'"):
        read_cameras(tmp_path / "cameras.json", "val")


def test_values_of_a_frame_go_before_those_of_the_file(tmp_path: Path) -> None:
    frames = [
        {"file_path": "a", "transform_matrix": POSE},
        {"file_path": "b", "transform_matrix": POSE[:3], "w": 20, "fl_x": 33.0},
    ]
    first, second = read_cameras(write(tmp_path, frames, w=10, h=8, fl_x=11.0, cy=4.5))
    assert first.intrinsics == Intrinsics(10, 8, 11.0, 11.0, 5.0, 4.5)
    assert second.intrinsics == Intrinsics(20, 8, 33.0, 33.0, 10.0, 4.5)


@pytest.mark.parametrize(
    ("frame", "top", "sentence"),
    [
        ({}, {}, "frame 'a': 'transform_matrix' is missing"),
        ({"transform_matrix": [[1, 0, 0, 0]] * 2}, {}, "must have 4 rows"),
        ({"transform_matrix": [[1, 0, 0]] * 4}, {}, "list of 4 numbers"),
        ({"transform_matrix": [[1, 0, 0, float("nan")]] * 4}, {}, "not a finite number"),
        ({"transform_matrix": [[1, 0, 0, 10**400]] * 4}, {}, "not a finite number"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 8}, "neither 'camera_angle_x' nor 'fl_x'"),
        ({"transform_matrix": POSE}, {"w": 8}, "'h' is missing"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 10**9, "fl_x": 5}, "'h' is 1e\\+09"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 8.5, "fl_x": 5}, "whole number"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 8, "fl_x": 0}, "above 0"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 8, "camera_angle_x": 3.2}, "below pi"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 8, "fl_x": 5, "k1": 0.1}, "distortion 'k1'"),
        ({"transform_matrix": POSE}, {"w": 8, "h": 8, "fl_x": 5, "camera_model": "OPENCV_FISHEYE"}, "pinhole"),
        ({"transform_matrix": POSE}, {"camera_angle_x": 0.7}, "no picture beside it"),
        ({"transform_matrix": POSE, "file_path": 7}, {}, "must be text"),
        ({"transform_matrix": POSE, "file_path": "a\0b"}, {}, "must be text"),
    ],
)
def test_a_hostile_frame_is_refused_by_name(tmp_path: Path, frame: dict, top: dict, sentence: str) -> None:
    with pytest.raises(DatasetInvalid, match=sentence) as caught:
        read_cameras(write(tmp_path, [{"file_path": "a", **frame}], **top))
    assert "transforms.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1, 2]", "must hold a JSON object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"frames": {}}', "'frames' must be a list"),
        (b'{"frames": []}', "lists no frames"),
        (b'{"frames": [3]}', "frame 0: 'frame' must be an object"),
        (b"{}", "'frames' is missing"),
    ],
)
def test_a_file_that_is_no_camera_file(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "transforms.json"
    path.write_bytes(content)
    with pytest.raises(DatasetInvalid, match=sentence):
        read_frames(path)


def test_repeated_and_missing(tmp_path: Path) -> None:
    frames = [{"file_path": "./a.png", "transform_matrix": POSE}, {"file_path": "a", "transform_matrix": POSE}]
    with pytest.raises(DatasetInvalid, match="frame 'a' is listed twice"):
        read_frames(write(tmp_path, frames))
    with pytest.raises(DatasetMissing, match="does not exist"):
        read_frames(tmp_path / "none.json")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "C:/x", "//server/x", "..", "C:x"])
def test_paths_stay_below_the_folder(path: str) -> None:
    with pytest.raises(ValueError, match="leads out of"):
        path_below(Path("data"), path)
    assert path_below(Path("data"), "./a/../b/r_0") == Path("data/b/r_0")
