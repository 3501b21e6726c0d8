"""What `from plenoxels import ...` offers, and that asking for help does not load torch."""

from __future__ import annotations

import subprocess
import sys

import plenoxels
import pytest


@pytest.mark.parametrize("name", plenoxels.__all__)
def test_every_public_name_is_there_and_documented(name: str):
    assert getattr(plenoxels, name).__doc__


def test_unknown_names_are_an_attribute_error():
    with pytest.raises(AttributeError, match="PlenOctree"):
        plenoxels.PlenOctree  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, plenoxels; sys.exit('torch' in sys.modules or 'warp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
