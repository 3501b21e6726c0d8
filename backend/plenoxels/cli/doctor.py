"""`doctor`: what this machine can do, and what to do about what is missing."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plenoxels import __version__
from plenoxels.errors import OpenVDBMissing

_ENOUGH_DISK_MB = 2000
_LEAST_DISK_MB = 200


@dataclass
class Examination:
    """What was found. `prevents_training` tells whether a problem does."""

    torch: str | None = None
    warp: str | None = None
    cuda: dict[str, Any] | None = None
    openvdb: dict[str, Any] | None = None
    disk_free_mb: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    prevents_training: bool = False

    def note(self, what: str, fix: str, prevents_training: bool = False) -> None:
        self.problems.append({"what": what, "fix": fix})
        self.prevents_training |= prevents_training

    def to_json(self) -> dict[str, Any]:
        """The contract's object."""
        return {
            "version": __version__,
            "python": platform.python_version(),
            "executable": sys.executable,
            "torch": self.torch,
            "warp": self.warp,
            "cuda": self.cuda,
            "openvdb": self.openvdb,
            "disk_free_mb": self.disk_free_mb,
            "problems": self.problems,
        }


def run(arguments: argparse.Namespace) -> int:
    found = examine()
    values = found.to_json()
    if arguments.json:
        print(json.dumps(values))
        return int(found.prevents_training)
    cuda, openvdb = found.cuda, found.openvdb
    rows = [
        ("plenoxels", __version__),
        ("Python", f"{values['python']} ({sys.executable})"),
        ("torch", found.torch or "missing"),
        ("warp", found.warp or "missing"),
        (
            "CUDA",
            f"{cuda['name']}, {cuda['memory_mb']:,} MB, driver {cuda['driver']}" if cuda else "none: the CPU is used",
        ),
        ("OpenVDB", f"{openvdb['version']} ({openvdb['path']})" if openvdb else "missing"),
        ("disk", f"{found.disk_free_mb:,} MB free here"),
    ]
    for name, text in rows:
        print(f"{name:11}{text}")
    for problem in found.problems:
        print(f"\n{problem['what']}\n  {problem['fix']}")
    print("\n" + ("Training cannot run like this." if found.prevents_training else "Ready to train."))
    return int(found.prevents_training)


def examine() -> Examination:
    """Looks at everything a training needs; never raises."""
    found = Examination()
    _examine_torch(found)
    _examine_warp(found)
    _examine_openvdb(found)
    found.disk_free_mb = int(shutil.disk_usage(Path.cwd()).free // 2**20)
    if found.disk_free_mb < _ENOUGH_DISK_MB:
        found.note(
            f"Only {found.disk_free_mb} MB are free on the disk of {Path.cwd()}.",
            "Free some space, or give an output folder on another disk: a job takes up to 1 GB.",
            prevents_training=found.disk_free_mb < _LEAST_DISK_MB,
        )
    return found


def _examine_torch(found: Examination) -> None:
    try:
        import torch
    except (ImportError, OSError) as error:
        found.note(f"torch cannot be loaded ({error}).", "Install it: pip install torch", prevents_training=True)
        return
    found.torch = torch.__version__
    try:
        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            found.cuda = {
                "name": properties.name,
                "count": torch.cuda.device_count(),
                "memory_mb": properties.total_memory // 2**20,
                "capability": f"{properties.major}.{properties.minor}",
                "runtime": torch.version.cuda,
                "driver": None,
            }
            return
    except RuntimeError as error:
        found.note(f"The GPU cannot be used ({error}).", "Update the NVIDIA driver and restart.")
        return
    if _has_nvidia_driver():
        if torch.version.cuda is None:
            found.note(
                f"There is an NVIDIA driver, but torch {torch.__version__} was built without CUDA.",
                "For training on the GPU install a CUDA build: see https://pytorch.org/get-started/locally",
            )
        else:
            found.note(
                f"There is an NVIDIA driver, but torch (CUDA {torch.version.cuda}) finds no GPU.",
                "Update the NVIDIA driver; see `nvidia-smi` for the CUDA version it supports.",
            )


def _examine_warp(found: Examination) -> None:
    try:
        import warp
    except (ImportError, OSError) as error:
        found.note(f"warp cannot be loaded ({error}).", "Install it: pip install warp-lang", prevents_training=True)
        return
    found.warp = warp.config.version
    if found.cuda is None:
        return
    from plenoxels.kernels.warp_start import start_warp

    try:
        start_warp()
        driver = getattr(warp, "get_cuda_driver_version", lambda: None)()
        found.cuda["driver"] = ".".join(map(str, driver)) if isinstance(driver, tuple) else driver
        if not warp.is_cuda_available():
            found.note("torch finds a GPU that warp cannot use.", "Update the NVIDIA driver, or use --device cpu.")
    except RuntimeError as error:
        found.note(f"warp cannot use the GPU ({error}).", "Update the NVIDIA driver, or use --device cpu.")


def _examine_openvdb(found: Examination) -> None:
    from plenoxels.neuralvdb.openvdb_module import load_openvdb

    try:
        module = load_openvdb()
    except OpenVDBMissing as error:
        found.note(error.message, error.fix, prevents_training=True)
        return
    version = ".".join(map(str, getattr(module, "LIBRARY_VERSION", ("?",))))
    found.openvdb = {"version": version, "path": str(getattr(module, "__file__", ""))}


def _has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
