// One optimiser step over the rows that got a gradient, and total variation as a regulariser.
#pragma once

namespace plenoxels {

struct RmsProp {
  float* gradients;            // [row_count + 1, width], zeroed again where used
  float* mean_square;          // [row_count + 1, 2] density's, and the mean of all harmonics'
  unsigned char* visibility;   // [row_count + 1], zeroed where used
  unsigned char* greatest_visibility;  // [row_count + 1] greatest code since it was last cleared
  float density_rate, sh_rate;
  float decay;
  float density_epsilon, sh_epsilon;
};

// RMSProp (Tieleman & Hinton 2012) over the rows that are listed. A voxel's harmonics share one mean square: the optimiser reads
// and writes a third less memory than with one for each, and learns as well.
template <int Degree> inline void rmsprop_rows(const Field& field, const RmsProp& state, const int* list, int count) {
  constexpr int kWidth = Row<Degree>::width, kColours = 3 * (Degree + 1) * (Degree + 1), kAhead = 8;
  const int density_column = 3 * Row<Degree>::band_width;
  const float fresh = 1 - state.decay;
  for (int i = 0; i < count; i++) {
    if (i + 2 * kAhead < count) __builtin_prefetch(field.row_position_start + list[i + 2 * kAhead]);
    if (i + kAhead < count) {
      const long long ahead = list[i + kAhead];
      __builtin_prefetch(field.row_positions + field.row_position_start[ahead]);
      __builtin_prefetch(state.greatest_visibility + ahead, 1);
      __builtin_prefetch(state.mean_square + 2 * ahead, 1);
      for (int line = 0; line < kWidth; line += 16) {
        __builtin_prefetch(state.gradients + ahead * kWidth + line, 1);
        __builtin_prefetch(field.rows + ahead * kWidth + line, 1);
      }
    }
    const int r = list[i];
    float* __restrict value = field.rows + (long long)r * kWidth;
    float* __restrict gradient = state.gradients + (long long)r * kWidth;
    float* __restrict square = state.mean_square + 2 * (long long)r;
    f4 squares = {};
    for (int j = 0; j < kWidth; j += 4) {
      f4 g = *(f4*)(gradient + j);
      if (j == density_column) g[0] = 0;
      squares += g * g;
    }
    const float by_density = gradient[density_column];
    square[0] = state.decay * square[0] + fresh * by_density * by_density;
    square[1] = state.decay * square[1] + fresh * (1.f / kColours) * sum(squares);
    const f4 root = __builtin_elementwise_sqrt(f4{square[0], square[1], 0, 0});
    const float density_step = state.density_rate / (root[0] + state.density_epsilon);
    const float sh_step = state.sh_rate / (root[1] + state.sh_epsilon);
    for (int j = 0; j < kWidth; j += 4) {
      f4 step = {sh_step, sh_step, sh_step, sh_step};
      if (j == density_column) step[0] = density_step;
      *(f4*)(value + j) -= step * *(f4*)(gradient + j);
      *(f4*)(gradient + j) = f4{};
    }
    if (state.visibility[r] > state.greatest_visibility[r]) state.greatest_visibility[r] = state.visibility[r];
    state.visibility[r] = 0;
    for (int p = field.row_position_start[r]; p < field.row_position_start[r + 1]; p++)
      field.brick_density[field.row_positions[p]] = value[density_column];
  }
}

// The same over touched rows in [begin, end). Returns their number.
template <int Degree> inline int rmsprop(const Field& field, const RmsProp& state, int begin, int end) {
  constexpr int kBatch = 64;
  int touched_total = 0, list[kBatch];
  for (int first = begin; first < end; first += kBatch) {
    int touched = 0;
    for (int r = first; r < least(first + kBatch, end); r++) {
      list[touched] = r;
      touched += state.visibility[r] != 0;
    }
    touched_total += touched;
    rmsprop_rows<Degree>(field, state, list, touched);
  }
  return touched_total;
}

// Trains on rays [begin, end): after each `rays_together` of them the rows that they touched are stepped, while the processor's
// cache still holds them. Rows that work.touched has no room for keep their gradient until the next rmsprop().
template <int Degree>
inline void train_rays(const Field& field, const Rays& rays, const Settings& settings, const Gradients& gradients,
                       const RmsProp& state, Work& work, int rays_together, int begin, int end) {
  for (int first = begin; first < end; first += rays_together) {
    render_rays<Degree, true>(field, rays, settings, gradients, work, first, least(first + rays_together, end));
    rmsprop_rows<Degree>(field, state, work.touched.rows, work.touched.count);
    work.touched.count = 0;
  }
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
