"""CUDA's kernels with the 32 lanes of a warp, emulated on the CPU by emulated_warp.cpp."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from plenoxels.kernels import Field
from plenoxels.kernels.cuda.kernels import CudaKernels
from plenoxels.kernels.cuda.native_module import HEADERS, LANES
from plenoxels.kernels.native_source import native_source


@cache
def _library() -> ctypes.CDLL:
    compiler = shutil.which("c++") if sys.platform == "linux" else None
    if compiler is None:
        pytest.skip("emulating a warp needs Linux and a C++ compiler")
    source = Path(__file__).with_suffix(".cpp").read_text("utf-8").replace("\nKERNELS\n", native_source(*HEADERS))
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "emulated_warp.so"
        options = ["-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(library)]
        subprocess.run([compiler, *options], input=source, text=True, check=True)
        return ctypes.CDLL(str(library))


class EmulatedWarpKernels(CudaKernels):
    """A warp per ray, lane by lane: slow, and it fails where lanes of a warp do not stay together."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self._run = _library().run_kernel
        self._lanes = LANES

    def _launch(self, field: Field, kernel: str, dim: tuple[int, ...], arguments: list[Any]) -> None:
        values = [ctypes.c_int(a) if isinstance(a, int) else a.__ctype__() for a in arguments]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        assert self._run(field.grid.sh_degree, kernel.encode(), addresses, *dim), "lanes of a warp went different ways"
