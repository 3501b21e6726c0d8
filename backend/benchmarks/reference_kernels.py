"""The spike's C++ kernels (the header plx.h), compiled here and run on the same threads as ours.

The header knows cubes of at most 256 voxels a side, harmonics of degree 2, encoded compositing, a grey background, and
rays in voxel units with the origin at the centre of voxel (0, 0, 0).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import torch
import torch.nn.functional as functional
from benchmarks.common import BenchmarkFailed
from plenoxels.grid import VoxelGrid
from plenoxels.grid.memory import huge_page_zeros
from plenoxels.kernels import RayBatch
from plenoxels.kernels.cpu.threads import ThreadPool

MAX_RESOLUTION = 256  # of the header's list of samples a ray
_ROW, _DENSITY = 32, 24  # the header's row is ours of degree 2
_LOCKS = 16384
_GREATEST_JUMP = 20  # blocks of 8^3
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-ffast-math", "-fno-strict-aliasing", "-fPIC", "-shared", "-w")
_POINTERS = ("links", "data", "dens", "grad", "mask", "occ", "locks", "o", "d", "target", "out")
_NUMBERS = ("step", "wth", "Tth", "bg", "gs")


class _Scene(ctypes.Structure):
    """plx::Ctx."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("R", "N", "nb")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_float) for name in _NUMBERS),
    ]


def find_compiler(wanted: str | None = None) -> str:
    """The C++ compiler to use: the wanted one, $CXX, or what the system has.

    Raises:
        BenchmarkFailed: there is none.
    """
    named = wanted or os.environ.get("CXX")
    for name in (named,) if named else ("clang++", "c++", "g++"):  # the header was written for clang
        if found := shutil.which(name):
            return found
    raise BenchmarkFailed(
        f"There is no C++ compiler {named}."
        if named
        else "There is no C++ compiler (clang++, c++, g++) on this machine.",
        "Install clang or g++, or name one with --compiler; the trainer itself needs none.",
    )


def compile_reference(header: Path, compiler: str, folder: Path) -> ctypes.CDLL:
    """Compiles the header into a library in `folder` and loads it.

    Raises:
        BenchmarkFailed: the header is missing or does not compile.
    """
    if not header.is_file():
        raise BenchmarkFailed(f"The reference {header} does not exist.", "Give the path of plx.h with --reference.")
    library, source = folder / "reference.so", Path(__file__).with_name("reference.cpp")
    define = f'-DPLX_HEADER="{header.resolve().as_posix()}"'
    done = subprocess.run(
        [compiler, *_OPTIONS, define, str(source), "-o", str(library)], capture_output=True, text=True
    )
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise BenchmarkFailed(f"{compiler} does not compile {header}: {first}", "Try another one with --compiler.")
    functions = ctypes.CDLL(str(library))  # its calls release Python's lock, as warp's launches do
    pointer, whole, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    functions.reference_forward.argtypes = [pointer, whole, whole]
    functions.reference_gradients.argtypes = [pointer, whole, whole, whole]
    functions.reference_update.argtypes = [pointer, pointer, real, real, real, real, whole, whole]
    for name in ("forward", "gradients", "update"):
        getattr(functions, f"reference_{name}").restype = None
    return functions


class ReferenceKernels:
    """The header's kernels on one grid, half-voxel steps and cuts of 1e-4 as `plenoxels bench` has.

    Attributes:
        gradients: float32 [N + 1, 32], since the last update; densities' in voxel units.
    """

    def __init__(self, functions: ctypes.CDLL, grid: VoxelGrid, threads: int) -> None:
        """Copies the grid into the header's form.

        Raises:
            BenchmarkFailed: the header cannot hold it.
        """
        side = grid.resolution[0]
        if set(grid.resolution) != {side} or side > MAX_RESOLUTION or grid.layout.width != _ROW:
            raise BenchmarkFailed(f"The reference knows cubes of at most {MAX_RESOLUTION}^3 voxels of degree 2 alone.")
        self._functions, self._pool = functions, ThreadPool(threads)
        self._voxel, self._side, self._count = grid.voxel_size[0], side, grid.active_voxels
        self._origin = torch.tensor(grid.origin)
        shape = (self._count + 1, _ROW)
        self._rows, self.gradients, self._mean_square = (huge_page_zeros(shape) for _ in range(3))
        self._rows.copy_(grid.rows)
        self._rows[:, _DENSITY] *= self._voxel
        self._mask = torch.zeros(self._count + 1, dtype=torch.uint8)
        self._locks = torch.zeros(_LOCKS, dtype=torch.uint8)
        places = (grid.coordinates.long() * torch.tensor([side * side, side, 1])).sum(1)
        room = side**3 + 2 * side * side + 64  # lanes of a ray that has left the grid read beyond it
        self._links = huge_page_zeros((room,), dtype=torch.int32).fill_(-1)
        self._links[places] = torch.arange(self._count, dtype=torch.int32)
        self._density = huge_page_zeros((room,))
        self._density[places] = self._rows[:-1, _DENSITY]
        self._jumps = _jumps(self._density[: side**3].view(side, side, side))

    def scene(self, rays: RayBatch, targets: torch.Tensor, pixels: torch.Tensor) -> _Scene:
        """What the header needs for a batch; `pixels` [n, 3] takes its colours. Raises nothing; keeps no copies."""
        origins = ((rays.origins - self._origin) / self._voxel).contiguous()
        arrays = (self._links, self._rows, self._density, self.gradients, self._mask, self._jumps, self._locks)
        tensors = (*arrays, origins, rays.directions, targets, pixels)
        scene = _Scene(
            R=self._side,
            N=self._count,
            nb=len(self._jumps),
            **{name: tensor.data_ptr() for name, tensor in zip(_POINTERS, tensors, strict=True)},
            **dict(zip(_NUMBERS, (0.5, 1e-4, 1e-4, 1.0, 2 / (3 * len(rays))), strict=True)),
        )
        scene.kept = tensors  # ctypes holds addresses only
        return scene

    def forward(self, scene: _Scene) -> None:
        address, call = ctypes.addressof(scene), self._functions.reference_forward
        self._pool.run(_rays_of(scene), lambda _, begin, end: call(address, begin, end))

    def add_gradients(self, scene: _Scene) -> None:
        address, call, locked = ctypes.addressof(scene), self._functions.reference_gradients, self._pool.threads > 1
        self._pool.run(_rays_of(scene), lambda _, begin, end: call(address, locked, begin, end))

    def update(self, scene: _Scene, density_rate: float, sh_rate: float, decay: float, epsilon: float) -> None:
        """One RMSProp step; the density's rate in extinction per world unit, as ours."""
        call = self._functions.reference_update
        first = (ctypes.addressof(scene), self._mean_square.data_ptr())
        rates = (density_rate * self._voxel, sh_rate, decay, epsilon)
        self._pool.run(self._count, lambda _, begin, end: call(*first, *rates, begin, end), smallest_chunk=4096)


def _rays_of(scene: _Scene) -> int:
    return len(scene.kept[_POINTERS.index("out")])


def _jumps(density: torch.Tensor) -> torch.Tensor:
    """uint8 [blocks, blocks, blocks]: how many blocks of 8^3 cells away the next one is that holds something."""
    block = 8
    padded = functional.pad((density != 0).float()[None, None], (0, 1) * 3)
    cells = functional.max_pool3d(padded, 2, 1)  # a cell's 8 corners
    reached = functional.max_pool3d(cells, block, block, ceil_mode=True)
    jumps = torch.zeros(reached.shape[2:], dtype=torch.uint8)
    for ring in range(1, _GREATEST_JUMP):
        grown = functional.max_pool3d(reached, 3, 1, 1)
        jumps[(grown[0, 0] > 0) & (reached[0, 0] == 0)] = ring
        reached = grown
    jumps[reached[0, 0] == 0] = _GREATEST_JUMP
    return jumps.contiguous()
