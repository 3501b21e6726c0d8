"""A stand-in for the backend: follows the job folder's contract and the command line, in the standard library alone.

`make_interpreter` writes a program that is started like a Python with plenoxels in it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

MODES = ("success", "slow", "fails", "crashes", "missing", "usage")


def make_interpreter(folder: Path, mode: str, *, field: Path | None = None) -> Path:
    """A program in `folder` that behaves as `mode` says. field: a .vdb that a success leaves, with its levels."""
    assert mode in MODES
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, str(Path(__file__).resolve()), mode, str(field or "")]
    if os.name == "nt":
        program = folder / f"python {mode}.bat"
        program.write_text(f"@{subprocess.list2cmdline(arguments)} %*\r\n", encoding="utf-8")
    else:
        program = folder / f"python {mode}"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(arguments)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return program


def write_status(folder: Path, **values: object) -> None:
    status = {
        "format_version": 1,
        "state": "running",
        "stage": "training",
        "message": "Training at 64 x 64 x 64",
        "pid": os.getpid(),
        "updated": time.time(),
        "progress": 0.5,
        "iteration": 100,
        "seconds": 1.5,
        "eta_seconds": 2.0,
        "rays_per_second": 400000.0,
        "loss": 0.01,
        "psnr": 27.5,
        "resolution": [64, 64, 64],
        "voxels": 5000,
        "memory_mb": 300.0,
        "peak_memory_mb": 320.0,
        "device": "cpu (2 threads)",
        "preview": None,
        "checkpoint": None,
        "field": None,
        "levels": [],
        "error": None,
        **values,
    }
    temporary = folder / "status.json.new"
    temporary.write_text(json.dumps(status), encoding="utf-8")
    temporary.replace(folder / "status.json")


def write_cameras(folder: Path, photos: Path | None = None) -> None:
    """Three frames: two for training, one held out; principal point off the centre, pixels not square."""
    frames = []
    for number, split in enumerate(("train", "train", "test")):
        frames.append(
            {
                "file_path": str((photos or folder) / f"r_{number}.png"),
                "split": split,
                "transform_matrix": [[1, 0, 0, 0.1 * number], [0, 0, -1, -4], [0, 1, 0, 0.2], [0, 0, 0, 1]],
                "w": 80,
                "h": 60,
                "fl_x": 90.0,
                "fl_y": 100.0,
                "cx": 43.0,
                "cy": 27.5,
            }
        )
    values = {"frames": frames, "scene_bounds": [-1, -1, -1, 1, 1, 1], "compositing": "linear", "background": [1, 1, 1]}
    (folder / "cameras.json").write_text(json.dumps(values), encoding="utf-8")


def leave_field(folder: Path, field: str) -> dict[str, object]:
    if not field:
        return {}
    source, levels = Path(field), []
    for path in sorted(source.parent.glob(f"{source.stem}*.vdb")):
        name = path.name.replace(source.stem, "field", 1)
        (folder / name).write_bytes(path.read_bytes())
        levels.append(name)
    levels.sort(key=len)
    return {"field": "field.vdb", "levels": levels}


def train(mode: str, field: str, folder: Path) -> int:
    print("fake backend, working in", Path.cwd(), flush=True)
    (folder / "seen.json").write_text(
        json.dumps({"arguments": sys.argv[3:], "environment": dict(os.environ), "cwd": str(Path.cwd())}),
        encoding="utf-8",
    )
    write_status(folder, state="starting", stage="loading", progress=0.0, psnr=None)
    write_cameras(folder)
    if mode == "fails":
        error = {"code": "dataset_invalid", "message": "The photo r_3.png is damaged.", "fix": "Replace it."}
        write_status(folder, state="failed", error=error)
        return 1
    for step in range(5 if mode == "success" else 600):
        write_status(folder, progress=step / 600 if mode == "slow" else step / 5)
        if mode == "crashes" and step == 2:
            os._exit(3)
        if (folder / "cancel").exists():
            write_status(folder, state="cancelled", stage="done", progress=1.0, **leave_field(folder, field))
            return 0
        time.sleep(0.05)
    write_status(folder, state="finished", stage="done", progress=1.0, eta_seconds=0, **leave_field(folder, field))
    return 0


def doctor() -> int:
    answer = {
        "version": "0.1.0",
        "python": "3.11.7",
        "executable": sys.executable,
        "torch": "2.13.0",
        "warp": "1.19.0",
        "cuda": None,
        "openvdb": {"version": "12.0"},
        "disk_free_mb": 5000,
        "problems": [{"what": "There is no CUDA device.", "fix": "Training runs on the CPU."}],
    }
    print(json.dumps(answer))
    return 0


def main() -> int:
    mode, field, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    if mode == "missing":
        print(f"{sys.executable}: No module named plenoxels", file=sys.stderr)
        return 1
    if mode == "usage":
        print("plenoxels: error: unknown option --levels", file=sys.stderr)
        return 2
    if "doctor" in arguments:
        return doctor()
    return train(mode, field, Path(arguments[arguments.index("--output") + 1]))


if __name__ == "__main__":
    sys.exit(main())
