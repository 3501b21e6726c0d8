// One optimiser step over the rows that got a gradient, and total variation as a regulariser.
#pragma once

namespace plenoxels {

struct RmsProp {
  float* gradients;            // [row_count + 1, width], zeroed again where used
  float* mean_square;          // [row_count + 1, width]
  unsigned char* visibility;   // [row_count + 1], zeroed where used
  unsigned char* greatest_visibility;  // [row_count + 1] greatest code since it was last cleared
  float density_rate, sh_rate;
  float decay;
  float density_epsilon, sh_epsilon;
};

// RMSProp (Tieleman & Hinton 2012) over touched rows in [begin, end). Returns their number.
template <int Degree> inline int rmsprop(const Field& field, const RmsProp& state, int begin, int end) {
  constexpr int kWidth = Row<Degree>::width, kBatch = 64, kAhead = 4;
  const int density_column = 3 * Row<Degree>::band_width;
  alignas(32) float rate[64], epsilon[64];
  for (int j = 0; j < 64; j++) {
    rate[j] = j == density_column ? state.density_rate : state.sh_rate;
    epsilon[j] = j == density_column ? state.density_epsilon : state.sh_epsilon;
  }
  int touched_total = 0, list[kBatch];
  for (int first = begin; first < end; first += kBatch) {
    int touched = 0;
    for (int r = first; r < least(first + kBatch, end); r++) {
      list[touched] = r;
      touched += state.visibility[r] != 0;
    }
    touched_total += touched;
    for (int i = 0; i < touched; i++) {
      if (i + kAhead < touched) {
        const long long ahead = (long long)list[i + kAhead] * kWidth;
        for (int line = 0; line < kWidth; line += 16) {
          __builtin_prefetch(state.gradients + ahead + line, 1);
          __builtin_prefetch(state.mean_square + ahead + line, 1);
          __builtin_prefetch(field.rows + ahead + line, 1);
        }
      }
      const int r = list[i];
      float* __restrict value = field.rows + (long long)r * kWidth;
      float* __restrict gradient = state.gradients + (long long)r * kWidth;
      float* __restrict square = state.mean_square + (long long)r * kWidth;
      for (int j = 0; j < kWidth; j += 4) {
        const f4 g = *(f4*)(gradient + j);
        const f4 mean = state.decay * *(f4*)(square + j) + (1 - state.decay) * g * g;
        *(f4*)(square + j) = mean;
        *(f4*)(value + j) -= *(f4*)(rate + j) * g / (__builtin_elementwise_sqrt(mean) + *(f4*)(epsilon + j));
        *(f4*)(gradient + j) = f4{};
      }
      if (state.visibility[r] > state.greatest_visibility[r]) state.greatest_visibility[r] = state.visibility[r];
      state.visibility[r] = 0;
      for (int p = field.row_position_start[r]; p < field.row_position_start[r + 1]; p++)
        field.brick_density[field.row_positions[p]] = value[density_column];
    }
  }
  return touched_total;
}

struct TotalVariation {
  float density_scale, sh_scale;
};

// Adds the gradient of sum over rows of sqrt(1e-9 + |forward differences|^2), per column, for rows first + [begin, end)
// (wrapping around). Harmonics are not drawn toward missing neighbours, whose colour means nothing; density is.
template <int Degree>
inline void total_variation(const Field& field, const Gradients& gradients, const TotalVariation& settings, int first, int begin,
                            int end) {
  constexpr int kWidth = Row<Degree>::width;
  const int density_column = 3 * Row<Degree>::band_width;
  const int neighbour_place[3] = {kBrickX, kBrickY, 1};
  for (int i = begin; i < end; i++) {
    const int r = (int)(((long long)first + i) % field.row_count);
    const int* home = field.brick_rows + field.row_positions[field.row_position_start[r]];
    const float* value = field.rows + (long long)r * kWidth;
    int neighbour[3];
    const float* other[3];
    float present[3];
    for (int axis = 0; axis < 3; axis++) {
      neighbour[axis] = home[neighbour_place[axis]];
      other[axis] = field.rows + (long long)neighbour[axis] * kWidth;
      present[axis] = neighbour[axis] < field.row_count ? 1.f : 0.f;
    }
    if (!owns(gradients, r) && !owns(gradients, neighbour[0]) && !owns(gradients, neighbour[1]) && !owns(gradients, neighbour[2]))
      continue;
    alignas(32) float change[3][kWidth], own[kWidth];
    for (int j = 0; j < kWidth; j += 4) {
      f4 mask[3], square = {1e-9f, 1e-9f, 1e-9f, 1e-9f}, difference[3];
      for (int axis = 0; axis < 3; axis++) {
        mask[axis] = f4{present[axis], present[axis], present[axis], present[axis]};
        if (j == density_column) mask[axis][0] = 1;
        difference[axis] = (*(const f4*)(other[axis] + j) - *(const f4*)(value + j)) * mask[axis];
        square += difference[axis] * difference[axis];
      }
      f4 scale = {settings.sh_scale, settings.sh_scale, settings.sh_scale, settings.sh_scale};
      if (j == density_column) scale[0] = settings.density_scale;
      scale /= __builtin_elementwise_sqrt(square);
      f4 total = {};
      for (int axis = 0; axis < 3; axis++) {
        *(f4*)(change[axis] + j) = difference[axis] * scale;
        total -= difference[axis] * scale;
      }
      *(f4*)(own + j) = total;
    }
    const auto add = [&](int index, const float* change_row) {
      if (!owns(gradients, index)) return;
      const Lock lock(gradients.locks, index);
      float* row = gradients.rows + (long long)index * kWidth;
      for (int j = 0; j < kWidth; j += 4) *(f4*)(row + j) += *(const f4*)(change_row + j);
      if (!gradients.visibility[index]) gradients.visibility[index] = 1;
    };
    add(r, own);
    for (int axis = 0; axis < 3; axis++)
      if (neighbour[axis] < field.row_count) add(neighbour[axis], change[axis]);
  }
}

}  // namespace plenoxels
