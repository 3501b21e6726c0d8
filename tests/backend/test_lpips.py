"""LPIPS: measured where its network is on this machine, said why where it is not, and never downloaded."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import open_dataset
from plenoxels.evaluation import evaluate_views
from plenoxels.evaluation.lpips import Lpips
from plenoxels.render import FieldRenderer
from small_scene import ball_field, two_pictures, write_small_scene

FAKE_MODELS = """
class AlexNet_Weights:
    class DEFAULT:
        url = "https://example.org/models/alexnet-owt-{digest}.pth"
"""
FAKE_LPIPS = """
import torch
class LearnedPerceptualImagePatchSimilarity(torch.nn.Module):
    def __init__(self, net_type, normalize):
        super().__init__()
        assert net_type == "alex" and normalize
    def forward(self, x, y):
        assert x.dtype == y.dtype == torch.float32 and x.shape == y.shape and x.shape[:2] == (1, 3)
        if x.shape[2] > 200:
            raise RuntimeError("out of memory")
        return (x - y).abs().mean()
"""


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """Stand-ins for torchvision and torchmetrics, to see when LPIPS is measured: not what it measures."""
    before = {name: sys.modules.pop(name) for name in loaded_libraries()}
    folder = tmp_path / "libraries"
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    for path, text in {
        "torchvision/__init__.py": "",
        "torchvision/models.py": FAKE_MODELS.format(digest=digest),
        "torchmetrics/__init__.py": "",
        "torchmetrics/image/__init__.py": "",
        "torchmetrics/image/lpip.py": FAKE_LPIPS,
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    weights = tmp_path / "hub" / "hub" / "checkpoints" / f"alexnet-owt-{digest}.pth"
    weights.parent.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    yield weights
    for name in loaded_libraries():
        del sys.modules[name]
    sys.modules.update(before)


def loaded_libraries() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "torchmetrics")]


def test_without_its_libraries_lpips_says_so(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    lpips = Lpips.find("cpu")
    assert lpips.missing == "LPIPS was not measured: torchmetrics and torchvision not installed."
    assert lpips(*two_pictures(70, 70)) is None


def test_without_its_weights_lpips_names_the_file(libraries: Path) -> None:
    missing = Lpips.find("cpu").missing
    assert missing.startswith(
        f"LPIPS was not measured: {libraries} is not there (it can be had from https://example.org"
    )
    libraries.write_bytes(b"half of the wei")
    assert "is damaged; get it anew from https://" in Lpips.find("cpu").missing


def test_a_torchvision_that_does_not_work_costs_only_lpips(libraries: Path, tmp_path: Path) -> None:
    broken = tmp_path / "libraries" / "torchvision" / "models.py"
    broken.write_text("raise RuntimeError('operator torchvision::nms does not exist')", encoding="utf-8")
    assert "does not work (RuntimeError: operator torchvision::nms does not exist)" in Lpips.find("cpu").missing


def test_with_all_of_it_lpips_is_measured(libraries: Path, tmp_path: Path) -> None:
    libraries.write_bytes(b"weights")
    lpips = Lpips.find("cpu")
    assert lpips.missing is None
    picture, photo = two_pictures(70, 90)
    assert lpips(picture, photo) == pytest.approx(np.abs(picture.clip(0, 1) - photo).mean(), rel=1e-5)
    assert lpips(*two_pictures(63, 90)) is None
    assert lpips.missing is None
    renderer = FieldRenderer(ball_field(), PlenoxelConfig(sh_degree=1), device="cpu")
    dataset = open_dataset(write_small_scene(tmp_path / "scene", alpha=False, size=80), 1, "linear")
    result = evaluate_views(renderer, dataset, dataset.test, lpips=lpips)
    assert result.lpips_missing is None
    assert 0 < result.lpips < 0.01
    assert lpips(*two_pictures(210, 90)) is None
    assert lpips.missing == "LPIPS was given up: RuntimeError: out of memory."


def test_the_real_network_takes_our_pictures(tmp_path: Path, monkeypatch) -> None:
    """With backbone weights made up at random, which already tell the same from the different."""
    try:
        import torchmetrics.image.lpip  # noqa: F401
        import torchvision
    except Exception as error:
        pytest.skip(f"torchmetrics and torchvision: {error}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    torch.manual_seed(0)
    model = torchvision.models.alexnet(weights=None)
    url = torchvision.models.AlexNet_Weights.DEFAULT.url
    weights = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    weights.parent.mkdir(parents=True)
    torch.save(model.state_dict(), weights)
    monkeypatch.setattr("plenoxels.evaluation.lpips._is_complete", lambda path: path == weights)
    lpips = Lpips.find("cpu")
    assert lpips.missing is None
    picture, photo = two_pictures(64, 80)
    slightly = photo + (picture - photo) / 10
    assert lpips(photo, photo) == pytest.approx(0, abs=1e-7)
    assert 0 < lpips(slightly, photo) < lpips(picture, photo)
