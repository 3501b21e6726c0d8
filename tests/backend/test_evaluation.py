"""Held-out scores against independent references, and the files that show them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from plenoxels.__main__ import main
from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import open_dataset
from plenoxels.evaluation import EvaluationResult, ViewScores, evaluate_views, psnr, ssim
from plenoxels.evaluation.contact_sheet import (
    _ERROR_COLOURS,
    CAPTION,
    EDGE,
    GAP,
    HEADER,
    MARGIN,
    MOST_ROWS,
    ContactSheet,
    error_colours,
)
from plenoxels.neuralvdb import FieldMetadata, write_field
from plenoxels.neuralvdb.metadata import TrainingRecord
from plenoxels.render import FieldRenderer
from small_scene import ball_field, two_pictures, write_small_scene

CONFIG = PlenoxelConfig(sh_degree=1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    return write_small_scene(tmp_path_factory.mktemp("scene") / "bällchen", alpha=False, size=80)


@pytest.fixture(scope="module")
def renderer() -> FieldRenderer:
    return FieldRenderer(ball_field(), CONFIG, device="cpu")


def reference_ssim(picture: np.ndarray, photo: np.ndarray) -> float:
    """Wang et al. 2004, equations 13 to 16, window by window in float64; no separable filter, no strips."""
    steps = np.arange(11) - 5
    window = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for channel in range(3):
        x = sliding_window_view(np.clip(picture, 0, 1)[..., channel].astype(np.float64), (11, 11))
        y = sliding_window_view(photo[..., channel].astype(np.float64), (11, 11))
        mean_x, mean_y = (x * window).sum((-1, -2)), (y * window).sum((-1, -2))
        from_x, from_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
        variance_x, variance_y = (window * from_x**2).sum((-1, -2)), (window * from_y**2).sum((-1, -2))
        covariance = (window * from_x * from_y).sum((-1, -2))
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
        values.append(luminance * structure)
    return float(np.mean(values))


@pytest.mark.parametrize(("height", "width"), [(11, 11), (12, 40), (74, 23), (75, 31), (150, 20)])
@pytest.mark.parametrize("noise", [0.02, 0.7])
def test_ssim_is_wangs(height: int, width: int, noise: float) -> None:
    picture, photo = two_pictures(height, width, noise)
    assert ssim(picture, photo) == pytest.approx(reference_ssim(picture, photo), abs=1e-9)


def test_ssim_of_the_same_of_opposites_and_of_too_little() -> None:
    _, photo = two_pictures(30, 30)
    assert ssim(photo, photo) == pytest.approx(1, abs=1e-12)
    assert ssim(1 - photo, photo) < 0.2
    white = np.ones((20, 20, 3), np.float32)
    assert ssim(white * 1.5, white) == pytest.approx(1, abs=1e-12)  # clipped
    assert ssim(white[:10], white[:10]) is None
    assert ssim(white[:, :10], white[:, :10]) is None


def test_psnr() -> None:
    photo = np.full((8, 9, 3), 0.5, np.float32)
    assert psnr(photo + np.float32(0.1), photo) == pytest.approx(20, abs=1e-4)
    assert psnr(photo * 0 + 7, photo) == pytest.approx(-10 * math.log10(0.25))
    assert psnr(photo, photo) == pytest.approx(120)


def test_views_are_measured_against_their_photos(scene: Path, renderer: FieldRenderer) -> None:
    dataset = open_dataset(scene, 1, "linear")
    seen = []
    result = evaluate_views(renderer, dataset, dataset.test, on_view=lambda *view: seen.append(view))
    assert [view.name for view in result.views] == ["test/r_0", "test/r_1", "test/r_2"]
    assert result.psnr > 50  # the photos are this field's pictures, rounded to bytes
    assert result.ssim == pytest.approx(np.mean([view.ssim for view in result.views]))
    assert result.ssim > 0.99
    for (scores, photo, picture), view in zip(seen, dataset.test, strict=True):
        np.testing.assert_array_equal(photo, np.asarray(Image.open(view.photo).convert("RGB"), np.float32) / 255)
        assert scores.psnr == psnr(picture, photo)
        assert scores.ssim == pytest.approx(reference_ssim(picture, photo), abs=1e-9)


def test_the_json_has_every_figure_or_null() -> None:
    views = [ViewScores("a", 20.0, 0.5, None), ViewScores("b", 30.0, None, 0.25)]
    values = json.loads(json.dumps(EvaluationResult(views, "why not").to_json(), allow_nan=False))
    assert values == {
        "psnr": 25.0, "ssim": 0.5, "lpips": 0.25, "lpips_network": "alex", "lpips_missing": "why not",
        "views": [
            {"name": "a", "psnr": 20.0, "ssim": 0.5, "lpips": None},
            {"name": "b", "psnr": 30.0, "ssim": None, "lpips": 0.25},
        ],
    }  # fmt: skip
    nothing = EvaluationResult([ViewScores("a", 20.0)], "no network").to_json()
    assert (nothing["ssim"], nothing["lpips"], nothing["lpips_network"]) == (None, None, None)
    assert EvaluationResult(views).summary() == "PSNR 25.00 dB, SSIM 0.5000, LPIPS 0.2500"


# ---------------------------------------------------------------------------------------------------------------------
# The contact sheet


def sheet_of(path: Path, scores: list[ViewScores], photo: np.ndarray, picture: np.ndarray) -> np.ndarray:
    sheet = ContactSheet(len(scores))
    for view in scores:
        sheet.add(view, photo, picture)
    sheet.write(path, "Bällchen", EvaluationResult(scores))
    return np.asarray(Image.open(path))


def test_a_sheet_shows_the_pixels_of_photo_render_and_error(tmp_path: Path) -> None:
    picture, photo = two_pictures(40, 60)
    picture = picture.clip(0, 1)
    sheet = sheet_of(tmp_path / "sheet.png", [ViewScores("test/r_0", 30.0, 0.9)], photo, picture)
    factor = EDGE // 60
    height, width = 40 * factor, 60 * factor
    assert sheet.shape == (HEADER + CAPTION + height + MARGIN, 2 * MARGIN + 3 * width + 2 * GAP, 3)
    top, lefts = HEADER + CAPTION, [MARGIN + i * (width + GAP) for i in range(3)]
    shown = [sheet[top : top + height : factor, left : left + width : factor] for left in lefts]
    for part, expected in zip(shown, (photo, picture), strict=False):
        np.testing.assert_array_equal(part, (expected * 255 + 0.5).astype(np.uint8))
    error = np.abs(picture - photo).mean(-1)
    np.testing.assert_allclose(shown[2], error_colours(4 * error), atol=3)  # by way of a byte of error
    assert len(np.unique(sheet[:HEADER].reshape(-1, 3), axis=0)) > 20  # a title, a legend
    assert sheet[HEADER : HEADER + CAPTION].max() > 200  # a caption
    assert not list(tmp_path.glob(".*"))


def test_many_views_become_the_worst_the_best_and_some_between(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    figures = random.permutation(1000) / 20
    sheet = ContactSheet(len(figures))
    photo = np.zeros((20, 20, 3), np.float32)
    for i, figure in enumerate(figures):
        sheet.add(ViewScores(f"test/r_{i}", float(figure)), photo, photo + np.float32(figure / 100))
    assert len(sheet._rows) <= 64
    chosen = [row.scores.psnr for row in sheet._chosen()]
    assert len(chosen) == MOST_ROWS
    assert (chosen[0], chosen[-1]) == (0.0, 999 / 20)
    assert np.all(np.abs(np.diff(chosen) - 50 / 7) < 4)  # at about equal steps
    sheet.write(tmp_path / "sheet.png", "many", EvaluationResult([ViewScores("x", float(f)) for f in figures]))
    height, width, _ = np.asarray(Image.open(tmp_path / "sheet.png")).shape
    assert 1 < width / height < 2


@pytest.mark.parametrize("shape", [(1000, 60), (60, 1000), (1500, 2000), (1, 1)])
def test_photos_of_any_shape_fit(shape: tuple[int, int], tmp_path: Path) -> None:
    photo = np.full((*shape, 3), 0.5, np.float32)
    scores = [ViewScores(f"a very long name of a view indeed / {i} ".rjust(300, "é"), 10.0 + i) for i in range(5)]
    sheet = sheet_of(tmp_path / "sheet.png", scores, photo, photo)
    assert max(sheet.shape) <= 2300
    assert (sheet == 128).all(-1).sum() >= 5 * 2 * EDGE


def test_the_errors_colours_are_inferno() -> None:
    import matplotlib

    steps = np.linspace(0, 1, 256)
    true = matplotlib.colormaps["inferno"](steps)[:, :3] * 255
    assert np.abs(error_colours(steps) - true).max() < 8
    np.testing.assert_array_equal(error_colours(np.array([0.0, 1.0, 9.0])), [_ERROR_COLOURS[i] for i in (0, -1, -1)])


def test_evaluate_prints_a_table_and_writes_both_files(scene: Path, tmp_path: Path, capsys) -> None:
    grid, field, output = ball_field(), tmp_path / "field.vdb", tmp_path / "neu" / "out"
    write_field(field, grid, FieldMetadata.of(grid, CONFIG, TrainingRecord()))
    assert main(["evaluate", str(field), str(scene), "--device", "cpu", "--output", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PSNR", "SSIM", "LPIPS"]
    assert [line.split()[0] for line in lines[1:5]] == ["test/r_0", "test/r_1", "test/r_2", "mean"]
    values = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    assert lines[4].split()[1:4] == [f"{values['psnr']:.2f}", "dB", f"{values['ssim']:.4f}"]
    assert values["views"][1]["ssim"] > 0.99
    assert np.asarray(Image.open(output / "evaluation.png")).shape[1] > 3 * 80
    assert sorted(path.name for path in output.iterdir()) == ["evaluation.json", "evaluation.png"]
    assert main(["evaluate", str(field), str(scene), "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == values
