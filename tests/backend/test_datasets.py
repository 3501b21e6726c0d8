"""Opening datasets and decoding photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plenoxels.colour import decode_srgb
from plenoxels.config import Compositing
from plenoxels.datasets import open_dataset
from plenoxels.datasets.photos import box_downscaled
from plenoxels.errors import DatasetInvalid, DatasetMissing

POSE = [[1.0, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]


def add_split(folder: Path, split: str, count: int, size=(12, 8), mode="RGBA", **top) -> None:
    (folder / split).mkdir(parents=True, exist_ok=True)
    frames = []
    for index in range(count):
        random = np.random.default_rng(index).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
        Image.fromarray(random, mode).save(folder / split / f"r_{index}.png")
        frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": POSE})
    values = {"camera_angle_x": 0.7, "frames": frames, **top}
    (folder / f"transforms_{split}.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    folder = tmp_path / "größe 1"
    add_split(folder, "train", 10)
    add_split(folder, "test", 3)
    return folder


def test_a_scene_opens_with_its_splits(scene: Path) -> None:
    dataset = open_dataset(scene)
    assert (dataset.name, len(dataset.train), len(dataset.val), len(dataset.test)) == ("größe 1", 10, 0, 3)
    assert dataset.has_alpha
    assert dataset.compositing is Compositing.LINEAR
    assert dataset.train[3].name == "train/r_3"
    assert dataset.train[3].split == "train"
    assert dataset.split("test") == dataset.test
    with pytest.raises(DatasetInvalid, match="no split 'val'"):
        dataset.split("val")


def test_photos_come_in_order_with_progress(scene: Path) -> None:
    dataset = open_dataset(scene)
    seen: list[tuple[int, int]] = []
    photos = dataset.load_photos(dataset.train, lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 10) for i in range(10)]
    for index, photo in enumerate(photos):
        assert photo.shape == (8, 12, 4)
        expected = np.random.default_rng(index).integers(0, 256, (8, 12, 4), np.uint8)
        np.testing.assert_array_equal(photo, expected)


def test_photos_without_alpha(tmp_path: Path) -> None:
    add_split(tmp_path, "train", 2, mode="RGB")
    add_split(tmp_path, "test", 1, mode="RGB")
    dataset = open_dataset(tmp_path)
    assert not dataset.has_alpha
    assert (dataset.load_photos(dataset.train)[0][..., 3] == 255).all()


def test_downscaled_views_and_photos_agree(scene: Path) -> None:
    full, half = open_dataset(scene), open_dataset(scene, downscale=3)
    assert half.train[0].intrinsics == full.train[0].intrinsics.downscaled(3)
    assert half.load_photos(half.train[:1])[0].shape == (2, 4, 4)
    with pytest.raises(DatasetInvalid, match="cannot be downscaled by 9"):
        open_dataset(scene, downscale=9)
    with pytest.raises(DatasetInvalid, match="cannot be downscaled by 0"):
        open_dataset(scene, downscale=0)


def test_linear_downscaling_averages_light_weighted_by_alpha() -> None:
    block = np.array([[[255, 0, 0, 255], [0, 0, 0, 255]], [[9, 99, 9, 0], [9, 99, 9, 0]]], np.uint8)
    (pixel,) = box_downscaled(block, 2, Compositing.LINEAR)[0]
    assert decode_srgb(np.array([pixel[0] / 255]))[0] == pytest.approx(0.5, abs=0.004)
    assert pixel[1:].tolist() == [0, 0, 128]
    (encoded,) = box_downscaled(block, 2, Compositing.ENCODED)[0]
    assert encoded.tolist() == [128, 0, 0, 128]


@pytest.mark.parametrize("compositing", list(Compositing))
def test_downscaling_agrees_with_a_plain_reference(compositing: Compositing) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (13, 11, 4), np.uint8)
    result = box_downscaled(pixels, 3, compositing)
    assert result.shape == (4, 3, 4)
    for row in range(4):
        for column in range(3):
            block = pixels[row * 3 : row * 3 + 3, column * 3 : column * 3 + 3].reshape(-1, 4) / 255.0
            values = decode_srgb(block[:, :3]) if compositing is Compositing.LINEAR else block[:, :3]
            mean = (values * block[:, 3:]).sum(0) / block[:, 3].sum()
            got = result[row, column] / 255.0
            light = decode_srgb(got[:3]) if compositing is Compositing.LINEAR else got[:3]
            np.testing.assert_allclose(light, mean, atol=0.006)
            assert got[3] == pytest.approx(block[:, 3].mean(), abs=0.5 / 255 + 1e-6)


def test_without_test_frames_some_are_held_out(tmp_path: Path) -> None:
    add_split(tmp_path, "train", 10)
    dataset = open_dataset(tmp_path)
    assert [view.name for view in dataset.test] == ["train/r_0", "train/r_8"]
    assert len(dataset.train) == 8
    assert {view.split for view in dataset.test} == {"test"}
    add_split(tmp_path, "val", 2)
    dataset = open_dataset(tmp_path)
    assert ([v.name for v in dataset.test], len(dataset.train), dataset.val) == (["val/r_0", "val/r_1"], 10, [])


def test_missing_folder_file_and_layout(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetMissing, match="is a file"):
        open_dataset(scene / "transforms_train.json")
    with pytest.raises(DatasetInvalid, match=r"no dataset of a known layout.*NeRF-synthetic"):
        open_dataset(tmp_path)
    for name in ("r_1", "r_2", "r_5", "r_6"):
        (scene / "train" / f"{name}.png").unlink()
    with pytest.raises(
        DatasetMissing, match=r"10 photos, of which 4 are not there: ./train/r_1, ./train/r_2, ./train/r_5"
    ):
        open_dataset(scene)


def test_photos_of_differing_sizes(scene: Path) -> None:
    Image.new("RGBA", (13, 8)).save(scene / "train" / "r_4.png")
    with pytest.raises(DatasetInvalid, match=r"frame 'train/r_4'.*13x8.*12x8"):
        open_dataset(scene)


def test_written_size_must_be_the_photos(tmp_path: Path) -> None:
    add_split(tmp_path, "train", 2, w=24, h=16)
    with pytest.raises(DatasetInvalid, match=r"frame 'train/r_0'.*12x8 pixels, but the file says 24x16"):
        open_dataset(tmp_path)


def test_a_photo_that_is_none(scene: Path) -> None:
    (scene / "train" / "r_3.png").write_bytes(b"no picture")
    with pytest.raises(DatasetInvalid, match=r"frame 'train/r_3': r_3.png is not a picture"):
        open_dataset(scene)


@pytest.mark.parametrize("keep", [60, 200])
def test_a_truncated_photo_is_named(scene: Path, keep: int) -> None:
    path = scene / "train" / "r_3.png"
    path.write_bytes(path.read_bytes()[:keep])
    dataset = open_dataset(scene)
    with pytest.raises(DatasetInvalid, match=r"'train/r_3'.*r_3.png cannot be read"):
        dataset.load_photos(dataset.train)


def test_a_photo_that_changed_meanwhile(scene: Path) -> None:
    dataset = open_dataset(scene)
    Image.new("RGBA", (5, 5)).save(scene / "train" / "r_0.png")
    with pytest.raises(DatasetInvalid, match=r"r_0.png is now 5x5 pixels, not 12x8"):
        dataset.load_photos(dataset.train)


def test_deep_grey_photos_are_refused(scene: Path) -> None:
    Image.fromarray(np.zeros((8, 12), np.uint16)).save(scene / "train" / "r_0.png")
    with pytest.raises(DatasetInvalid, match="8 bits a channel"):
        open_dataset(scene)


@pytest.mark.parametrize("file_path", ["../outside", "/etc/hostname", "train/../../outside"])
def test_frames_cannot_point_outside(scene: Path, file_path: str) -> None:
    path = scene / "transforms_train.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["frames"][0]["file_path"] = file_path
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DatasetInvalid, match="leads out of the dataset's folder"):
        open_dataset(scene)


def test_real_scene() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "nerf_synthetic" / "lego"
    if not folder.is_dir():
        pytest.skip("../shared/data/nerf_synthetic/lego is not on this machine")
    dataset = open_dataset(folder, downscale=4)
    assert (len(dataset.train), len(dataset.test), dataset.has_alpha) == (100, 25, True)
    photo = dataset.load_photos(dataset.test[:1])[0]
    assert photo.shape == (200, 200, 4)
    assert 0.05 < (photo[..., 3] > 128).mean() < 0.6
