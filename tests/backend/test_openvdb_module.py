"""Finding OpenVDB's module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plenoxels.neuralvdb.openvdb_module import load_openvdb

BACKEND = Path(__file__).parents[2] / "backend"
_HIDE = (
    "import importlib.util as u, sys; find = u.find_spec\n"
    "u.find_spec = lambda name, *a: None if name in ('openvdb', 'bpy') else find(name, *a)\n"
    "from plenoxels.neuralvdb.openvdb_module import load_openvdb\n"
    "from plenoxels.errors import OpenVDBMissing\n"
)


def child(code: str, folder: Path | str = "") -> str:
    values = {**os.environ, "PYTHONPATH": str(BACKEND), "PLENOVDB_OPENVDB": str(folder)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=values, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_bpy_itself_and_its_other_packages_stay_out() -> None:
    load_openvdb()
    code = (
        "import sys; before = list(sys.path)\n"
        "from plenoxels.neuralvdb.openvdb_module import load_openvdb\n"
        "m = load_openvdb(); assert load_openvdb() is m; import openvdb; assert openvdb is m\n"
        "print('bpy' in sys.modules, sys.path == before)"
    )
    assert child(code) == "False True"


def test_a_folder_can_be_named() -> None:
    folder = Path(load_openvdb().__file__).parent
    assert child(_HIDE + "print(load_openvdb().__file__)", folder).startswith(str(folder))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "which is no folder"),
        ({}, "there is no 'openvdb' in it"),
        ({"openvdb.cpython-27-x86_64-linux-gnu.so": ""}, "is not made for this Python"),
        ({"openvdb.py": "answer = 42"}, "another package of that name"),
        ({"openvdb.py": "raise ImportError('libtbb.so.12 not found')"}, "libtbb.so.12 not found"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path, content: dict | None, sentence: str) -> None:
    folder = tmp_path / "site-packages"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text, encoding="utf-8")
    code = _HIDE + (
        "try:\n    load_openvdb()\nexcept ImportError as error:\n"
        "    assert isinstance(error, OpenVDBMissing) and 'openvdb' not in sys.modules\n    print(error)"
    )
    message = child(code, folder)
    assert message.startswith("OpenVDB not available (")
    assert sentence in message
    assert "PLENOVDB_OPENVDB" in message
