"""The sRGB curve for numpy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plenoxels.colour import decode_srgb, encode_srgb, to_bytes


def test_known_values() -> None:
    values = np.array([0.0, 0.04045, 0.5, 1.0, 1.5])
    expected = [0.0, 0.04045 / 12.92, 0.21404114, 1.0, ((1.5 + 0.055) / 1.055) ** 2.4]
    np.testing.assert_allclose(decode_srgb(values), expected, rtol=1e-6)


@given(st.floats(-2, 8))
def test_round_trip_also_above_one_and_below_zero(value: float) -> None:
    # The two published knees differ in the fifth digit, hence 1e-5.
    assert encode_srgb(decode_srgb(np.array([value])))[0] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("function", [decode_srgb, encode_srgb])
def test_torch_equals_numpy_and_keeps_the_dtype(function) -> None:
    values = np.linspace(-0.5, 3, 1001).astype(np.float32)
    result = function(torch.from_numpy(values))
    assert result.dtype == torch.float32
    assert function(values).dtype == np.float32
    np.testing.assert_allclose(result.numpy(), function(values), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("function", [decode_srgb, encode_srgb])
def test_gradient_is_finite_and_right_everywhere(function) -> None:
    values = torch.tensor([-0.5, 0.0, 1e-9, 0.003, 0.04, 0.05, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (values,))


def test_to_bytes_clips_rounds_and_survives_nan() -> None:
    assert to_bytes(np.array([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 9.0, np.nan])).tolist() == [
        0, 0, 0, 1, 255, 255, 0,
    ]  # fmt: skip
