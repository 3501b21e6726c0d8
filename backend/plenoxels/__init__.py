"""Plenoxel radiance fields: training on the CPU or CUDA, OpenVDB storage, rendering."""

import os

# Torch's OpenMP workers spin after each operation unless told otherwise before torch is first imported; beside a busy
# Blender that takes most of the processor from the kernels.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
