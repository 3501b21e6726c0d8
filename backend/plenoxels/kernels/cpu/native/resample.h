// A field's rows at the voxels of another resolution.
#pragma once

namespace plenoxels {

struct Resample {
  const int* coordinates;  // [n, 3] voxels of the new grid
  float* rows;             // [n, width] out
  float ratio[3];          // new voxel's edge in the field's voxels
  int offset[3];           // grid index of the field's vertex (0, 0, 0)
};

// Trilinear rows for new voxels [begin, end). Density counts inactive corners as 0, as rendering does; harmonics are averaged over
// the corners there are, since an inactive voxel has no colour.
template <int Degree> inline void resample(const Field& field, const Resample& work, int begin, int end) {
  constexpr int kWidth = Row<Degree>::width;
  const int density_column = 3 * Row<Degree>::band_width;
  for (int i = begin; i < end; i++) {
    float* __restrict out = work.rows + (long long)i * kWidth;
    for (int j = 0; j < kWidth; j += 4) *(f4*)(out + j) = f4{};
    int cell[3];
    float f[3];
    bool inside = true;
    for (int axis = 0; axis < 3; axis++) {
      const float p = (work.coordinates[3 * (long long)i + axis] + 0.5f) * work.ratio[axis] - 0.5f - work.offset[axis];
      const float low = __builtin_floorf(p);
      cell[axis] = (int)low;
      f[axis] = p - low;
      inside &= low >= field.clip_min[axis] && low < field.clip_max[axis];
    }
    if (!inside) continue;
    const int brick =
        field.bricks[((cell[0] >> 3) * field.brick_count[1] + (cell[1] >> 3)) * field.brick_count[2] + (cell[2] >> 3)];
    if (brick <= 0) continue;
    const int* corner =
        field.brick_rows + (long long)brick * kBrickStride + (cell[0] & 7) * kBrickX + (cell[1] & 7) * kBrickY + (cell[2] & 7);
    float present = 0;
    for (int c = 0; c < 8; c++) {
      const int index = corner[kCorner[c]];
      if (index >= field.row_count) continue;
      const float w = (c & 4 ? f[0] : 1 - f[0]) * (c & 2 ? f[1] : 1 - f[1]) * (c & 1 ? f[2] : 1 - f[2]);
      const float* row = field.rows + (long long)index * kWidth;
      for (int j = 0; j < kWidth; j += 4) *(f4*)(out + j) += w * *(const f4*)(row + j);
      present += w;
    }
    const float density = out[density_column], scale = present > 1e-6f ? 1 / present : 0;
    for (int j = 0; j < kWidth; j += 4) *(f4*)(out + j) *= scale;
    out[density_column] = density;
  }
}

}  // namespace plenoxels
