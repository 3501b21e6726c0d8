// A field's rows at the voxels of another resolution.
#pragma once

namespace plenoxels {

struct Resample {
  const int* coordinates;  // [n, 3] voxels of the new grid
  float* rows;             // [n, width] out, zero before
  float ratio[3];          // new voxel's edge in the field's voxels
  int offset[3];           // grid index of the field's vertex (0, 0, 0)
};

// One column of new voxel i, trilinear. Density counts inactive corners as 0, as rendering does; harmonics are averaged over the
// corners there are, since an inactive voxel has no colour.
template <int Degree> inline void resample(const Field& field, const Resample& work, int i, int column) {
  typedef LaneRow<Degree> Row;
  int cell[3];
  float f[3];
  for (int axis = 0; axis < 3; axis++) {
    const float p = (work.coordinates[3ll * i + axis] + 0.5f) * work.ratio[axis] - 0.5f - work.offset[axis];
    const float low = floorf(p);
    if (!(low >= field.clip_min[axis] && low < field.clip_max[axis])) return;
    cell[axis] = (int)low;
    f[axis] = p - low;
  }
  const int brick =
      fixed(field.bricks + ((cell[0] >> 3) * field.brick_count[1] + (cell[1] >> 3)) * field.brick_count[2] + (cell[2] >> 3));
  if (brick <= 0) return;
  const int* corners = field.brick_rows + brick * kBrickStride + (cell[0] & 7) * kBrickX + (cell[1] & 7) * kBrickY + (cell[2] & 7);
  float sum = 0, present = 0;
  for (int corner = 0; corner < 8; corner++) {
    const int index = fixed(corners + corner_place(corner));
    if (index >= field.row_count) continue;
    const float w = corner_weight(corner, f);
    sum += w * fixed(field.rows + (long long)index * Row::kWidth + column);
    present += w;
  }
  if (column != Row::kDensity) sum *= present > 1e-6f ? 1 / present : 0;
  work.rows[(long long)i * Row::kWidth + column] = sum;
}

}  // namespace plenoxels
