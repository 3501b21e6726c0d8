"""Importing fields: one object, its levels, what it remembers, and files that are none of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import pytest
import radiance


@pytest.fixture
def family(tmp_path: Path) -> Path:
    folder = tmp_path / "Ordner mit Leerzeichen é"
    folder.mkdir()
    return radiance.write_family(radiance.blob(1, resolution=(16, 12, 8)), folder / "mein Feld.vdb", 3)


def grid_resolution(volume: Any) -> int:
    """Voxels along x as Blender's evaluated volume has them."""
    bpy.context.view_layer.update()
    volume.grids.load()
    return round(2.1 / volume.grids["density"].matrix_object.to_scale()[0])


def test_one_object_with_all_levels(api: Any, scene: Any, family: Path) -> None:
    imported = api.import_field(scene, family)
    volume = imported.object.data
    assert [o for o in scene.objects if o.type == "VOLUME"] == [imported.object]
    assert [level.resolution for level in imported.levels] == [(16, 12, 8), (8, 6, 4), (4, 3, 2)]
    assert tuple(imported.object.location) == (0, 0, 0)
    assert volume.render.space == "WORLD"
    assert volume.render.step_size == pytest.approx(min(imported.levels[0].voxel_size) / 2)
    assert json.loads(volume["plenoxel"])["resolution"] == [16, 12, 8]
    assert imported.object.name == "test scene"
    assert not imported.warnings
    from_coarse = api.import_field(scene, family.with_name("mein Feld_lod2.vdb"))
    assert from_coarse.reused
    assert from_coarse.object == imported.object


def test_levels_keep_transform_material_and_animation(api: Any, scene: Any, family: Path) -> None:
    target = api.import_field(scene, family).object
    target.location = (1, 2, 3)
    target.keyframe_insert("location", frame=1)
    target.location = (4, 5, 6)
    target.keyframe_insert("location", frame=10)
    material = target.data.materials[0]
    group = next(node for node in material.node_tree.nodes if node.type == "GROUP")
    group.inputs["Strength"].default_value = 0.5
    for level, size in ((2, 4), (0, 16), (1, 8)):
        assert api.set_level_of_detail(target, level).number == level
        assert grid_resolution(target.data) == size
        assert target.data.plenovdb.level == level
    assert target.data.materials[0] == material
    assert group.inputs["Strength"].default_value == 0.5
    scene.frame_set(10)
    assert tuple(target.location) == (4, 5, 6)
    with pytest.raises(api.PlenoError, match="no level of detail 7"):
        api.set_level_of_detail(target, 7)
    family.unlink()
    with pytest.raises(api.PlenoError, match="is gone"):
        api.set_level_of_detail(target, 0)


def test_import_again_keeps_edits_but_never_shows_an_older_run(api: Any, scene: Any, family: Path) -> None:
    first = api.import_field(scene, family)
    first.object.location = (1, 0, 0)
    assert api.import_field(scene, family).object == first.object
    assert grid_resolution(first.object.data) == 16
    other = radiance.blob(1, resolution=(32, 24, 16), training={"dataset": "another run"})
    radiance.write_family(other, family, 2)
    second = api.import_field(scene, family)
    assert not second.reused
    assert second.object != first.object
    assert second.object.name == "another run"
    assert grid_resolution(second.object.data) == 32
    assert json.loads(second.object.data["plenoxel"])["training"]["dataset"] == "another run"
    assert [level.number for level in second.levels] == [0, 1], "the stale third level belongs to the older run"
    assert second.warnings
    assert grid_resolution(first.object.data) == 16, "the older run stays on show where it was"
    assert api.import_field(scene, family).object == second.object
    bpy.data.volumes.remove(first.object.data)
    bpy.data.volumes.remove(second.object.data)
    radiance.write_family(radiance.blob(1, resolution=(8, 6, 4)), family, 1)
    assert grid_resolution(api.import_field(scene, family).object.data) == 8


def test_saved_and_opened_again(api: Any, scene: Any, family: Path, tmp_path: Path) -> None:
    api.import_field(scene, family)
    path = str(family.parent / "szene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path, relative_remap=True)
    bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=path)
    again = next(o for o in bpy.context.scene.objects if o.type == "VOLUME")
    assert again.data.filepath.startswith("//")
    assert api.set_level_of_detail(again, 2).path == family.with_name("mein Feld_lod2.vdb")
    assert again.data.filepath.startswith("//")
    assert grid_resolution(again.data) == 4
    assert api.import_field(bpy.context.scene, family).object == again


def test_missing_and_foreign_files(api: Any, scene: Any, tmp_path: Path) -> None:
    import openvdb

    garbage = tmp_path / "garbage.vdb"
    garbage.write_bytes(b"no volume at all" * 100)
    foreign = tmp_path / "foreign.vdb"
    grid = openvdb.FloatGrid()
    grid.name = "density"
    openvdb.write(str(foreign), [grid], {})
    cut = tmp_path / "cut.vdb"
    cut.write_bytes(radiance.write(radiance.blob(0), tmp_path / "whole.vdb").read_bytes()[:60])
    for path, words in (
        (tmp_path / "nothing.vdb", "does not exist"),
        (garbage, "no readable OpenVDB"),
        (foreign, "without a radiance field"),
        (cut, r"cut\.vdb"),
        (tmp_path, "no field"),
    ):
        with pytest.raises(api.PlenoError, match=words):
            api.import_field(scene, path)
        with pytest.raises(RuntimeError, match=words):
            bpy.ops.plenovdb.import_field(filepath=str(path))
    for change in ({"sh_degree": 2}, {"format_version": 9}, {"resolution": [1, 1, 1]}, {"compositing": "x"}):
        bad = radiance.write(radiance.blob(0), tmp_path / "bad.vdb", **change)
        with pytest.raises(api.PlenoError, match=r"bad\.vdb"):
            api.import_field(scene, bad)
    assert not bpy.data.volumes


def test_warnings(api: Any, scene: Any, part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part("volume.importing"), "DENSE_WARNING_MB", 0.01)
    imported = api.import_field(scene, radiance.write(radiance.blob(3), tmp_path / "field.vdb"))
    assert any("Cycles" in warning for warning in imported.warnings)
    assert any("GB" in warning for warning in imported.warnings)
    encoded = radiance.write(radiance.blob(0, compositing="encoded"), tmp_path / "encoded.vdb")
    assert any("view transform" in warning for warning in api.import_field(scene, encoded).warnings)


def test_materials_share_groups_of_their_kind(api: Any, scene: Any, tmp_path: Path) -> None:
    for number in range(2):
        api.import_field(scene, radiance.write(radiance.blob(1), tmp_path / f"field{number}.vdb"))
    groups = [tree for tree in bpy.data.node_groups if tree.bl_idname == "ShaderNodeTree"]
    assert len(groups) == 1
    assert len(bpy.data.materials) == 2
    group = groups[0]
    frames = [node.label for node in group.nodes if node.bl_idname == "NodeFrame"]
    assert "Density" in frames
    assert all(
        node.parent
        for node in group.nodes
        if node.bl_idname not in ("NodeFrame", "NodeGroupInput", "NodeGroupOutput", "ShaderNodeSeparateXYZ")
    )
    inputs = [item for item in group.interface.items_tree if item.in_out == "INPUT"]
    assert [(item.name, item.default_value) for item in inputs] == [("Density Scale", 1.0), ("Strength", 1.0)]


def test_user_modifiers_and_files_from_older_blenders(api: Any, scene: Any, part: Any, family: Path) -> None:
    """The placement is corrected for the Blender that opens the file, first of all modifiers."""
    target = api.import_field(scene, family).object
    name = part("volume.modifier").NAME
    if name in target.modifiers:
        target.modifiers.remove(target.modifiers[name])
    target.modifiers.new("mine", "VOLUME_DISPLACE")
    part("handlers")._place_all()
    expected = [name, "mine"] if bpy.app.version < (5, 0, 0) else ["mine"]
    assert [modifier.name for modifier in target.modifiers] == expected
    scene.render.engine = "CYCLES"
    scene.view_layers[0].update()
    needs_name_offset = bpy.app.version >= (5, 1, 0)
    if needs_name_offset:
        assert [modifier.name for modifier in target.modifiers] == [name, "mine"]
