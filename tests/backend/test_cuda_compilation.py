"""Every CUDA kernel compiles to PTX on a machine without a GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import warp as wp
from plenoxels.kernels.cuda.warp_kernels import warp_kernels

ARCHITECTURE = 75  # Turing, the oldest that CUDA 13 knows


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_kernels_compile_to_ptx(degree: int, tmp_path: Path):
    kernels = warp_kernels(degree)
    wp.compile_aot_module(kernels.module, arch=ARCHITECTURE, module_dir=tmp_path, use_ptx=True)
    (ptx,) = tmp_path.glob("*.ptx")
    text = ptx.read_text("utf-8")
    for name in ("render", "gradients", "rmsprop", "finish_step", "total_variation", "resample"):
        assert re.search(rf"\.entry \w*__{name}_\w*\(", text), f"{name} is missing from the PTX"
    assert "red.global.add.f32" in text or "atom.global.add.f32" in text
