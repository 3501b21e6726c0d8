"""Metadata, cameras, placement and backend answers without Blender: arithmetic, limits, hostile input."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_backend import make_interpreter, write_cameras

from blender_plenovdb.cameras.frames import read_frames
from blender_plenovdb.cameras.intrinsics import Pinhole, blender_lens
from blender_plenovdb.errors import PlenoError
from blender_plenovdb.jobs import backend
from blender_plenovdb.jobs.describing import duration, rate
from blender_plenovdb.jobs.environment import Environment
from blender_plenovdb.volume.metadata import METADATA_LIMIT, level_paths, read_metadata
from blender_plenovdb.volume.placement import NAME_OFFSET, correction, offset_by_name


@dataclass
class Transform:
    size: tuple[float, float, float]

    def voxelSize(self) -> tuple[float, float, float]:
        return self.size


@dataclass
class Grid:
    """As much of an openvdb grid as metadata needs."""

    name: str
    valueTypeName: str
    size: tuple[float, float, float] = (0.25, 0.5, 0.125)
    metadata: dict[str, object] = field(
        default_factory=lambda: {"file_bbox_min": (0, 0, 0), "file_bbox_max": (7, 3, 15), "file_mem_bytes": 500000}
    )

    @property
    def transform(self) -> Transform:
        return Transform(self.size)


GOOD: dict[str, object] = {
    "format_version": 1,
    "resolution": [8, 4, 16],
    "scene_bounds": [-1, -1, -1, 1, 1, 1],
    "sh_degree": 0,
    "compositing": "linear",
    "lod_level": 0,
    "step_size": 0.1,
    "background": [1, 1, 1],
    "model_config": {},
    "training": {"dataset": "x", "held_out_psnr": None},
    "generator": "tests",
    "unknown": [1],
}


class FakeOpenVDB:
    """Stands in for Blender's module."""

    def __init__(self, text: object, grids: list[Grid]) -> None:
        self.text, self.grids = text, grids

    def readMetadata(self, path: str) -> dict[str, object]:
        if self.text is OSError:
            raise OSError("not a VDB file")
        return {} if self.text is None else {"plenoxel": self.text}

    def readAllGridMetadata(self, path: str) -> list[Grid]:
        return self.grids


def grids(**changes: str) -> list[Grid]:
    return [Grid("density", "float"), Grid("sh_0", "vec3s")]


def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: object, of: list[Grid] | None = None) -> object:
    path = tmp_path / "field.vdb"
    path.touch()
    monkeypatch.setitem(sys.modules, "openvdb", FakeOpenVDB(text, grids() if of is None else of))  # type: ignore[arg-type]
    return read_metadata(path)


def test_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read(monkeypatch, tmp_path, json.dumps(GOOD))
    metadata = read_metadata(tmp_path / "field.vdb")
    assert metadata.voxel_size == (0.25, 0.5, 0.125)
    assert metadata.dense_mb == pytest.approx(8 * 4 * 16 * 5 * 2 / 1e6)
    assert metadata.sparse_mb == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"resolution": [8, 4]},
        {"resolution": [8, 4, 16.5]},
        {"resolution": [8, 4, 5000]},
        {"scene_bounds": [1, -1, -1, -1, 1, 1]},
        {"scene_bounds": [-1, -1, -1, 1, 1, 1e400]},
        {"sh_degree": 4},
        {"sh_degree": 1},
        {"sh_degree": True},
        {"compositing": "magic"},
        {"lod_level": -1},
        {"background": None},
        {"training": []},
        {"resolution": [16, 4, 16]},
    ],
)
def test_hostile_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(PlenoError, match=r"field\.vdb"):
        read(monkeypatch, tmp_path, json.dumps({**GOOD, **change}))


@pytest.mark.parametrize("text", [OSError, None, 3, "", "[]", "{", '"' + "x" * METADATA_LIMIT + '"', "[" * 100000])
def test_foreign_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: object) -> None:
    with pytest.raises(PlenoError, match=r"field\.vdb"):
        read(monkeypatch, tmp_path, text)


def test_grids_must_be_those_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = json.dumps(GOOD)
    for wrong in (
        [Grid("density", "float")],
        [Grid("density", "float"), Grid("sh_0", "float")],
        [Grid("density", "float", (1.0, 1.0, 1.0)), Grid("sh_0", "vec3s")],
    ):
        with pytest.raises(PlenoError):
            read(monkeypatch, tmp_path, text, wrong)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PlenoError, match="does not exist"):
        read_metadata(tmp_path / "nothing.vdb")


def test_level_paths(tmp_path: Path) -> None:
    for name in ("a.vdb", "a_lod1.vdb", "a_lod3.vdb", "b_lod1.vdb", "a_lodx.vdb"):
        (tmp_path / name).touch()
    expected = [tmp_path / name for name in ("a.vdb", "a_lod1.vdb", "a_lod3.vdb")]
    assert level_paths(tmp_path / "a.vdb") == expected
    assert level_paths(tmp_path / "a_lod3.vdb") == expected
    assert level_paths(tmp_path / "b_lod1.vdb") == [tmp_path / "b_lod1.vdb"]


def test_placement_by_version() -> None:
    voxel = (0.1, 0.2, 0.3)
    assert correction((4, 5, 15), "CYCLES", "a", voxel) == (-0.05, -0.1, -0.15)
    assert correction((4, 5, 15), "BLENDER_EEVEE_NEXT", "a", voxel) == (-0.05, -0.1, -0.15)
    assert correction((5, 0, 1), "CYCLES", "a", voxel) == (0.0, 0.0, 0.0)
    assert len(set(correction((5, 1, 2), "CYCLES", "a", voxel))) == 1
    assert correction((5, 2, 3), "BLENDER_EEVEE", "a", voxel) == (0.0, 0.0, 0.0)
    assert correction((5, 2, 3), "CYCLES", "a", voxel) == tuple(-value for value in offset_by_name("a"))


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("f", (0.000666, 0.000972, 0.000903)),
        ("zzz", (0.000729, 0.000021, 0.000388)),
        ("größer", (0.000879, 0.000837, 0.000597)),
    ],
)
def test_offset_by_name_is_what_cycles_was_measured_to_do(name: str, measured: tuple[float, float, float]) -> None:
    """The figures were fitted to renders of Blender 5.2.3 in which only the object's name differed."""
    offset = offset_by_name(name)
    assert offset == pytest.approx(measured, abs=1e-5)
    assert all(0 <= value <= NAME_OFFSET for value in offset)


def test_lens_of_square_centred_pixels() -> None:
    lens = blender_lens(Pinhole(200, 100, 250.0, 250.0, 100.0, 50.0))
    assert (lens.lens, lens.shift_x, lens.shift_y) == (250.0 * 36 / 200, 0.0, 0.0)
    assert (lens.pixel_aspect_x, lens.pixel_aspect_y) == (1.0, 1.0)
    tall = blender_lens(Pinhole(200, 100, 250.0, 200.0, 100.0, 50.0))
    assert tall.pixel_aspect_y / tall.pixel_aspect_x == pytest.approx(1.25)
    assert min(tall.pixel_aspect_x, tall.pixel_aspect_y) == 1.0


def test_cameras(tmp_path: Path) -> None:
    write_cameras(tmp_path)
    frames = read_frames(tmp_path)
    assert [frame.split for frame in frames] == ["train", "train", "test"]
    good = json.loads((tmp_path / "cameras.json").read_text(encoding="utf-8"))
    for key, value in (("w", 0), ("fl_x", 0), ("cx", "mid"), ("split", "val"), ("transform_matrix", [[1, 0], [0, 1]])):
        bad = {**good, "frames": [{**good["frames"][0], key: value}]}
        (tmp_path / "cameras.json").write_text(json.dumps(bad), encoding="utf-8")
        with pytest.raises(PlenoError, match=r"cameras\.json"):
            read_frames(tmp_path)
    for text in ("{}", '{"frames": []}', '{"frames": [3]}', "nonsense"):
        (tmp_path / "cameras.json").write_text(text, encoding="utf-8")
        with pytest.raises(PlenoError):
            read_frames(tmp_path)
    with pytest.raises(PlenoError, match=r"no readable cameras\.json"):
        read_frames(tmp_path / "elsewhere")


def test_backend_answers(tmp_path: Path) -> None:
    good = Environment(make_interpreter(tmp_path, "success"), tmp_path / "caches")
    report = backend.check(good, timeout=20)
    assert (report.version, report.torch, report.device) == ("0.1.0", "2.13.0", "no CUDA device, training on the CPU")
    assert report.problems[0].fix == "Training runs on the CPU."
    with pytest.raises(PlenoError, match="not installed"):
        backend.check(Environment(make_interpreter(tmp_path, "missing"), tmp_path / "caches"), timeout=20)
    with pytest.raises(PlenoError, match="cannot be run"):
        backend.check(Environment(tmp_path / "none", tmp_path / "caches"), timeout=20)
    for output in (b"", b"[]", b'{"problems": 1}', b"x" * 300000):
        with pytest.raises(PlenoError):
            backend.read_answer(output, b"Traceback: boom", 1, good)


def test_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 185, 3723)] == ["0 s", "59 s", "3:05 min", "1:02 h"]
    assert [rate(value) for value in (950, 420000)] == ["950 rays/s", "0.42 million rays/s"]
    assert math.isclose(NAME_OFFSET, 1e-3)


def test_parts_without_blender_import_no_bpy() -> None:
    names = [
        "errors",
        *(f"jobs.{path.stem}" for path in (Path(backend.__file__).parent).glob("*.py") if path.stem != "__init__"),
        "cameras.frames",
        "cameras.intrinsics",
        "volume.metadata",
        "volume.placement",
    ]
    script = "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['bpy'] = None\n" + "\n".join(
        f"import blender_plenovdb.{name}" for name in names
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", script, root], check=True, timeout=60)
