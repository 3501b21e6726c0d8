// Real spherical harmonics of a unit direction, svox2's order and constants (contracts/vdb.md).
#pragma once

namespace plenoxels {

constexpr float kFirstHarmonic = 0.28209479177387814f;  // k = 0, the same in every direction

// Fills h[1] to h[(Degree + 1)^2 - 1].
template <int Degree> inline void higher_harmonics(const float* d, float* h) {
  const float x = d[0], y = d[1], z = d[2];
  const float xx = x * x, yy = y * y, zz = z * z;
  if (Degree >= 1) {
    h[1] = -0.4886025119029199f * y;
    h[2] = 0.4886025119029199f * z;
    h[3] = -0.4886025119029199f * x;
  }
  if (Degree >= 2) {
    h[4] = 1.0925484305920792f * x * y;
    h[5] = -1.0925484305920792f * y * z;
    h[6] = 0.31539156525252005f * (2 * zz - xx - yy);
    h[7] = -1.0925484305920792f * x * z;
    h[8] = 0.5462742152960396f * (xx - yy);
  }
  if (Degree >= 3) {
    h[9] = -0.5900435899266435f * y * (3 * xx - yy);
    h[10] = 2.890611442640554f * x * y * z;
    h[11] = -0.4570457994644658f * y * (4 * zz - xx - yy);
    h[12] = 0.3731763325901154f * z * (2 * zz - 3 * xx - 3 * yy);
    h[13] = -0.4570457994644658f * x * (4 * zz - xx - yy);
    h[14] = 1.445305721320277f * z * (xx - yy);
    h[15] = -0.5900435899266435f * x * (xx - 3 * yy);
  }
}

}  // namespace plenoxels
