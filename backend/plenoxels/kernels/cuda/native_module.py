"""Builds the native headers into Warp kernels for CUDA: a set for each spherical-harmonics degree.

Warp hands the headers to NVRTC, or to its own compiler for the CPU, where one lane does the work of a warp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import warp as wp

from plenoxels.kernels.cuda import structures
from plenoxels.kernels.native_source import native_source

# What the headers build on; tests put lanes of their own in its place.
LANES_HEADER = "cuda/native/lanes.h"
HEADERS = (
    "native/layout.h",
    "native/harmonics.h",
    "cuda/native/lane_sums.h",
    "cuda/native/rows.h",
    "cuda/native/march.h",
    "cuda/native/colour.h",
    "cuda/native/render.h",
    "cuda/native/optimise.h",
    "cuda/native/resample.h",
)
LANES = 32
"""Threads that work on a ray together: a warp."""
BLOCK_THREADS = 256
_RENDER_BOUNDS = (BLOCK_THREADS, 3)  # three blocks at once: at most 80 registers a thread

# Warp's structures have the bytes of the headers' own.
_AS_NATIVE = """
namespace plenoxels {
template <class Native, class Given> inline Native as_native(const Given& given) {
  static_assert(sizeof(Native) == sizeof(Given), "structures.py does not mirror the headers");
  Native native;
  memcpy(&native, &given, sizeof(Native));
  return native;
}
}
"""


@dataclass(frozen=True)
class CudaModule:
    """Kernels for one degree over the structures in structures.py; `module` holds them all.

    Attributes:
        render, render_with_gradients, rmsprop: by (ray or group of LANES rows, lane).
        total_variation, resample: by (row, column).
    """

    render: Any
    render_with_gradients: Any
    rmsprop: Any
    total_variation: Any
    resample: Any
    module: Any


def _native(*names: str) -> str:
    types = {"work": "Resample", "state": "RmsProp", "variation": "TotalVariation"}
    return ", ".join(f"plenoxels::as_native<plenoxels::{types.get(n, n.capitalize())}>({n})" for n in names)


@cache
def cuda_module(sh_degree: int) -> CudaModule:
    """The kernels for one degree (0 to 3), not yet compiled."""
    module = wp.get_module(f"plenoxels_lanes_degree_{sh_degree}")
    source = native_source(LANES_HEADER, *HEADERS) + _AS_NATIVE
    module.options["extra_build_options"] = wp.ModuleBuildOptions(extra_cuda_preamble=source, extra_cpu_preamble=source)
    module.options["enable_backward"] = False
    module.options["default_grid_stride"] = False  # a thread has one item, so needs fewer registers
    scene = _native("field", "rays", "settings", "gradients")

    @wp.func_native(f"plenoxels::render_ray<{sh_degree}, false>({scene}, ray, lane);")
    def render_native(
        field: structures.Field,
        rays: structures.Rays,
        settings: structures.Settings,
        gradients: structures.Gradients,
        ray: int,
        lane: int,
    ): ...

    @wp.func_native(f"plenoxels::render_ray<{sh_degree}, true>({scene}, ray, lane);")
    def render_with_gradients_native(
        field: structures.Field,
        rays: structures.Rays,
        settings: structures.Settings,
        gradients: structures.Gradients,
        ray: int,
        lane: int,
    ): ...

    @wp.func_native(f"plenoxels::rmsprop<{sh_degree}>({_native('field', 'state')}, group, lane);")
    def rmsprop_native(field: structures.Field, state: structures.RmsProp, group: int, lane: int): ...

    @wp.func_native(
        f"plenoxels::total_variation<{sh_degree}>({_native('field', 'gradients', 'variation')}, first, i, column);"
    )
    def total_variation_native(
        field: structures.Field,
        gradients: structures.Gradients,
        variation: structures.TotalVariation,
        first: int,
        i: int,
        column: int,
    ): ...

    @wp.func_native(f"plenoxels::resample<{sh_degree}>({_native('field', 'work')}, i, column);")
    def resample_native(field: structures.Field, work: structures.Resample, i: int, column: int): ...

    @wp.kernel(module=module, launch_bounds=_RENDER_BOUNDS)
    def render(
        field: structures.Field,
        rays: structures.Rays,
        settings: structures.Settings,
        gradients: structures.Gradients,
    ):
        ray, lane = wp.tid()
        render_native(field, rays, settings, gradients, ray, lane)

    @wp.kernel(module=module, launch_bounds=_RENDER_BOUNDS)
    def render_with_gradients(
        field: structures.Field,
        rays: structures.Rays,
        settings: structures.Settings,
        gradients: structures.Gradients,
    ):
        ray, lane = wp.tid()
        render_with_gradients_native(field, rays, settings, gradients, ray, lane)

    @wp.kernel(module=module)
    def rmsprop(field: structures.Field, state: structures.RmsProp):
        group, lane = wp.tid()
        rmsprop_native(field, state, group, lane)

    @wp.kernel(module=module)
    def total_variation(
        field: structures.Field, gradients: structures.Gradients, variation: structures.TotalVariation, first: int
    ):
        i, column = wp.tid()
        total_variation_native(field, gradients, variation, first, i, column)

    @wp.kernel(module=module)
    def resample(field: structures.Field, work: structures.Resample):
        i, column = wp.tid()
        resample_native(field, work, i, column)

    return CudaModule(render, render_with_gradients, rmsprop, total_variation, resample, module)
