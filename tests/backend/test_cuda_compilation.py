"""CUDA's kernels compile on a machine without a GPU, to the code that they were designed for."""

from __future__ import annotations

import re

import pytest
import warp as wp
from plenoxels.kernels.cuda.native_module import cuda_module
from plenoxels.kernels.warp_start import start_warp

ARCHITECTURES = (75, 90)  # Turing, the oldest that CUDA 13 knows, and Hopper
KERNELS = ("render", "render_with_gradients", "rmsprop", "total_variation", "resample")


@pytest.fixture(
    scope="module", params=[(a, d) for a in ARCHITECTURES for d in range(4)], ids=lambda p: f"sm_{p[0]}-{p[1]}"
)
def entries(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PTX of each kernel, for an architecture and a degree."""
    architecture, degree = request.param
    folder = tmp_path_factory.mktemp("ptx")
    start_warp()
    wp.compile_aot_module(cuda_module(degree).module, arch=architecture, module_dir=folder, use_ptx=True)
    (ptx,) = folder.glob("*.ptx")
    parts = re.split(r"(?=\.visible \.entry )", ptx.read_text("utf-8"))[1:]
    return {re.search(r"__(\w+?)_[0-9a-f]{8}_cuda", part)[1].removeprefix("locals__"): part for part in parts}


def test_every_kernel_compiles_to_ptx(entries: dict[str, str]):
    assert set(entries) == set(KERNELS)


def test_a_warp_works_together(entries: dict[str, str]):
    """Lanes exchange numbers by shuffles and votes, wait for each other at no block's barrier, and share one kernel."""
    for name in ("render", "render_with_gradients", "rmsprop"):
        assert "shfl.sync" in entries[name]
        assert re.search(r"vote\.sync|vote\.ballot", entries[name])
        assert not re.search(r"\bbar(rier)?\.sync", entries[name])
    assert re.search(r"(red|atom)\.global\.add\.f32", entries["render_with_gradients"])
    assert not re.search(r"(red|atom)\.global", entries["render"])


def test_threads_need_no_memory_of_their_own(entries: dict[str, str]):
    """Numbers live in registers: local memory would cost more than the march."""
    for name, text in entries.items():
        assert not re.search(r"\.local\b", text), name
        assert not re.search(r"\bcall\b", text), name


def test_several_blocks_fit_on_a_multiprocessor(entries: dict[str, str]):
    """At most 80 registers a thread, and few enough bytes of shared memory for Turing's 64 KiB."""
    for name in ("render", "render_with_gradients"):
        assert re.search(r"\.maxntid\s+256", entries[name])
        assert re.search(r"\.minnctapersm\s+3", entries[name])
        assert sum(map(int, re.findall(r"\.shared .*\[(\d+)\]", entries[name]))) <= 8 * 1024
