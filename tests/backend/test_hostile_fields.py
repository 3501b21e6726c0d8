"""Field files that lie, are damaged, or come from elsewhere: each is refused by a sentence that names file and grid."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plenoxels.errors import FieldFileError
from plenoxels.neuralvdb import FieldMetadata, read_field, read_metadata, write_field
from plenoxels.neuralvdb.openvdb_module import load_openvdb
from stored_fields import make_grid, metadata_of

openvdb = load_openvdb()
FOREIGN = Path(__file__).parents[3] / "shared" / "data" / "vdb"


@pytest.fixture
def field(tmp_path: Path) -> Path:
    grid = make_grid(0)
    write_field(tmp_path / "f.vdb", grid, metadata_of(grid))
    return tmp_path / "f.vdb"


def changed(path: Path, change: Callable[[list, dict], object]) -> Path:
    """A copy of a field whose grids and metadata went through `change`."""
    grids, metadata = openvdb.readAll(str(path))
    values = json.loads(metadata["plenoxel"])
    grids = change(grids, values) or grids
    openvdb.write(str(path.with_name("changed.vdb")), grids=grids, metadata={"plenoxel": json.dumps(values)})
    return path.with_name("changed.vdb")


def stretched(grid) -> None:
    grid.transform = openvdb.createLinearTransform(0.5)


def sheared(grid) -> None:
    transform = grid.transform.deepCopy()
    transform.preShear(0.1, openvdb.X, openvdb.Y)
    grid.transform = transform


def with_value(grid, value, index=(100, 100, 100)) -> None:
    grid.getAccessor().setValueOn(index, value)


def lifted_background(grid) -> None:
    grid.background = 3.0


def with_inactive_value(grid) -> None:
    index = grid.evalActiveVoxelBoundingBox()[0]
    grid.getAccessor().setValueOff(index, 5.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda g, m: g[1:], "grid 'density' is missing"),
        (lambda g, m: g[:-1], "grid 'sh_8' is missing"),
        (lambda g, m: m.update(sh_degree=1), "grid 'sh_4' does not fit its degree 1"),
        (lambda g, m: [*g, g[0].deepCopy()], "grid 'density' is there 2 times"),
        (lambda g, m: setattr(g[0], "name", "sh_99"), "grid 'density' is missing"),
        (lambda g, m: [openvdb.DoubleGrid(), *g[1:]], "grid 'density' is missing"),
        (lambda g, m: stretched(g[3]), "transform of the grid 'sh_2'.*not that of its metadata"),
        (lambda g, m: sheared(g[0]), "transform of the grid 'density'"),
        (lambda g, m: m.update(resolution=[19, 13, 23]), "transform of the grid 'density'"),
        (lambda g, m: m.update(scene_bounds=[-1.5, 2.0, -30.0, 0.5, 2.25, 42.0]), "transform of the grid 'density'"),
        (lambda g, m: with_value(g[0], 1.0), "grid 'density' has active voxels outside its resolution 19x13x22"),
        (lambda g, m: with_value(g[0], 1.0, (-1, 0, 0)), "outside its resolution"),
        (lambda g, m: with_value(g[0], float("nan"), (3, 3, 3)), "grid 'density' holds values that are not finite"),
        (
            lambda g, m: with_value(g[5], (0.0, float("inf"), 0.0), tuple(g[5].evalActiveVoxelBoundingBox()[0])),
            "'sh_4'",
        ),
        (lambda g, m: g[2].clear(), "grid 'sh_1' has 0 active voxels"),
        (lambda g, m: lifted_background(g[0]), "background that is not 0"),
        (lambda g, m: with_inactive_value(g[0]), "inactive voxels whose value is not 0"),
        (lambda g, m: g[0].fill((0, 0, 0), (511, 511, 511), 1.0), "134,217,728 active voxels; at most"),
        (lambda g, m: m.__delitem__("scene_bounds"), "'scene_bounds' is missing"),
        (lambda g, m: m.update(format_version=2), "'format_version' is 2"),
        (lambda g, m: m.update(compositing="both"), "'compositing' is 'both'"),
        (lambda g, m: m.update(resolution=[5000, 1, 1]), "'resolution' is 5000"),
        (lambda g, m: m.update(resolution=[1, 1]), "list of 3 numbers"),
        (lambda g, m: m.update(scene_bounds=[0, 0, 0, 0, 1, 1]), "each minimum must lie below"),
        (lambda g, m: m.update(step_size=0), "'step_size' is 0"),
        (lambda g, m: m.update(sh_degree=2.5), "whole number"),
        (lambda g, m: m.update(sh_degree=True), "must be a number"),
        (lambda g, m: m.update(background=[1, 1, -1]), "background"),
        (lambda g, m: m.update(model_config=[]), "'model_config' must be an object"),
        (lambda g, m: m.update(model_config={"step_fraction": "x"}), "model_config"),
        (lambda g, m: m.update(training={"held_out_psnr": float("nan")}), "'held_out_psnr' is not a finite number"),
        (lambda g, m: m.update(generator="x" * 2_000_000), "at most 1,048,576 are accepted"),
    ],
)
def test_a_lie_is_named(field: Path, change, sentence: str) -> None:
    path = changed(field, change)
    with pytest.raises(FieldFileError, match=sentence) as caught:
        read_field(path, max_voxels=10_000_000)
    assert "changed.vdb" in str(caught.value)


def test_other_active_voxels_than_density(field: Path) -> None:
    def change(grids: list, _: dict) -> None:
        low = tuple(grids[4].evalActiveVoxelBoundingBox()[0])
        index = next(i for i in np.ndindex(19, 13, 22) if not grids[4].getConstAccessor().isValueOn(i) and i != low)
        active = next(i for i in np.ndindex(19, 13, 22) if grids[4].getConstAccessor().isValueOn(i))
        grids[4].getAccessor().setValueOff(active, (0.0, 0.0, 0.0))
        grids[4].getAccessor().setValueOn(index, (1.0, 1.0, 1.0))

    with pytest.raises(FieldFileError, match="grid 'sh_3' has other active voxels than 'density'"):
        read_field(changed(field, change))


def test_grids_of_other_names_are_left_alone(field: Path) -> None:
    extra = openvdb.FloatGrid()
    extra.name = "temperature"
    path = changed(field, lambda grids, _: [*grids, extra])
    assert read_field(path)[0].active_voxels == make_grid(0).active_voxels


@pytest.mark.parametrize("share", [0, 1e-4, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.8, 0.99, 0.9999, -1])
def test_a_truncated_file_is_refused(field: Path, share: float) -> None:
    data = field.read_bytes()
    field.write_bytes(data[:-1] if share < 0 else data[: int(len(data) * share)])
    for read in (read_field, read_metadata):
        with pytest.raises(FieldFileError, match=r"f\.vdb cannot be read as a field: it "):
            read(field)


def test_trailing_bytes_are_refused(field: Path) -> None:
    field.write_bytes(field.read_bytes() + b"more")
    with pytest.raises(FieldFileError, match="its grids take"):
        read_field(field)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_never_raise_anything_else(field: Path, data) -> None:
    content = bytearray(field.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 1500))] = data.draw(st.integers(0, 255))
    path = field.with_name("damaged.vdb")
    path.write_bytes(content)
    with contextlib.suppress(FieldFileError):
        read_metadata(path)


@given(
    st.dictionaries(
        st.sampled_from(list(metadata_of(make_grid(0)).to_json())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=8,
        ),
        min_size=1,
    )
)
def test_metadata_of_any_kind_is_accepted_or_a_value_error(changes: dict) -> None:
    values = {**metadata_of(make_grid(0)).to_json(), **changes}
    try:
        metadata = FieldMetadata.from_json(values)
    except ValueError:
        return
    assert FieldMetadata.from_text(metadata.to_text()) == metadata


@pytest.mark.parametrize("content", [b"", b"x", b"PK\3\4" + bytes(100), bytes(1000)])
def test_what_is_no_vdb(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.vdb").write_bytes(content)
    with pytest.raises(FieldFileError, match=r"not an OpenVDB file|cut off"):
        read_field(tmp_path / "f.vdb")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FieldFileError, match="does not exist"):
        read_field(tmp_path / "none.vdb")
    with pytest.raises(FieldFileError, match="cannot be read"):
        read_field(tmp_path)


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="../shared/data/vdb is not on this machine")
@pytest.mark.parametrize("path", sorted(FOREIGN.glob("*.vdb")), ids=lambda path: path.stem)
def test_foreign_files_are_refused_with_their_grids(path: Path) -> None:
    with pytest.raises(FieldFileError) as caught:
        read_field(path)
    message = str(caught.value)
    assert str(path) in message
    assert "holds no radiance field: it has '" in message
