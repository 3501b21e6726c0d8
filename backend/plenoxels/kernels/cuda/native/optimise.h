// One optimiser step over the rows that got a gradient, and total variation as a regulariser.
#pragma once

namespace plenoxels {

struct RmsProp {
  float* gradients;            // [row_count + 1, width], zeroed again where used
  float* mean_square;          // [row_count + 1, 2] density's, and the mean of all harmonics'
  unsigned char* visibility;   // [row_count + 1], zeroed where used
  unsigned char* greatest_visibility;  // [row_count + 1] greatest code since it was last cleared
  int* touched;                // [1] the number of touched rows is added
  float density_rate, sh_rate;
  float decay;
  float density_epsilon, sh_epsilon;
};

// RMSProp (Tieleman & Hinton 2012) over the touched ones among kLanes rows: a lane per row finds and finishes them, a lane per
// column steps them. A voxel's harmonics share one mean square.
template <int Degree> inline void rmsprop(const Field& field, const RmsProp& state, int group, int lane) {
  typedef LaneRow<Degree> Row;
  constexpr int kColours = 3 * (Degree + 1) * (Degree + 1);
  const int first = group * kLanes, own = first + lane;
  const bool touched = own < field.row_count && state.visibility[own] > 0;
  const unsigned all = where(touched);
  if (!all) return;
  float density = 0;
  for (unsigned rest = all; rest;) {
    const int slot = lowest_bit(rest) / Row::kParts * Row::kParts, row = slot + lane / Row::kTogether;
    const bool steps = (all >> row) & 1;
    const long long row_start = (long long)(first + row) * Row::kWidth, row_mean = 2 * (long long)(first + row);
    float gradient[Row::kColumns], squares = 0, density_mean = 0, mean = 0, stepped = 0;
    if (steps) {
      density_mean = state.mean_square[row_mean];
      mean = state.mean_square[row_mean + 1];
    }
    for (int j = 0; j < Row::kColumns; j++) {
      const int column = lane % Row::kTogether + j * Row::kTogether;
      gradient[j] = steps ? state.gradients[row_start + column] : 0;
      squares += column == Row::kDensity ? 0 : gradient[j] * gradient[j];
    }
    // Every lane has read the means by then; the row's first lane writes them below.
    for (int bits = Row::kTogether / 2; bits > 0; bits /= 2) squares += from_across(squares, bits);
    if (steps) {
      mean = state.decay * mean + (1 - state.decay) * squares * (1.f / kColours);
      const float sh_step = state.sh_rate / (sqrtf(mean) + state.sh_epsilon);
      for (int j = 0; j < Row::kColumns; j++) {
        const int column = lane % Row::kTogether + j * Row::kTogether;
        float step = sh_step;
        if (column == Row::kDensity) {
          density_mean = state.decay * density_mean + (1 - state.decay) * gradient[j] * gradient[j];
          step = state.density_rate / (sqrtf(density_mean) + state.density_epsilon);
          state.mean_square[row_mean] = density_mean;
        }
        const float value = field.rows[row_start + column] - step * gradient[j];
        state.gradients[row_start + column] = 0;
        field.rows[row_start + column] = value;
        if (column == Row::kDensity) stepped = value;
      }
      if (lane % Row::kTogether == 0) state.mean_square[row_mean + 1] = mean;
    }
    // The lane with a row's density hands it to the row's own lane.
    const int part = least(greatest(lane - slot, 0), Row::kParts - 1);
    const float handed = from_lane(stepped, part * Row::kTogether + Row::kDensity % Row::kTogether);
    const unsigned done = ((1u << Row::kParts) - 1) << slot;
    if ((done >> lane) & 1) density = handed;
    rest &= ~done;
  }
  if (lane == 0) add(state.touched, bit_count(all));
  if (!touched) return;
  state.greatest_visibility[own] = (unsigned char)greatest(state.greatest_visibility[own], state.visibility[own]);
  state.visibility[own] = 0;
  for (int p = field.row_position_start[own]; p < field.row_position_start[own + 1]; p++)
    field.brick_density[field.row_positions[p]] = density;
}

struct TotalVariation {
  float density_scale, sh_scale;
};

// Adds the gradient of sqrt(1e-9 + |forward differences|^2) of one column of row first + i (wrapping around). Harmonics are not
// drawn toward missing neighbours, whose colour means nothing; density is.
template <int Degree>
inline void total_variation(const Field& field, const Gradients& gradients, const TotalVariation& settings, int first, int i,
                            int column) {
  typedef LaneRow<Degree> Row;
  const bool is_density = column == Row::kDensity;
  const int row = (int)(((long long)first + i) % field.row_count);
  const int* home = field.brick_rows + field.row_positions[field.row_position_start[row]];
  const int neighbour[3] = {home[kBrickX], home[kBrickY], home[1]};
  const float value = field.rows[(long long)row * Row::kWidth + column];
  float difference[3], square = 1e-9f;
  for (int axis = 0; axis < 3; axis++) {
    const float other = field.rows[(long long)neighbour[axis] * Row::kWidth + column];
    difference[axis] = is_density || neighbour[axis] < field.row_count ? other - value : 0;
    square += difference[axis] * difference[axis];
  }
  const float scale = (is_density ? settings.density_scale : settings.sh_scale) / sqrtf(square);
  const auto change = [&](int index, float amount) {
    if (amount != 0) add(gradients.rows + (long long)index * Row::kWidth + column, amount);
    if (column == 0) raise(gradients.visibility + index, 1);
  };
  change(row, -scale * (difference[0] + difference[1] + difference[2]));
  for (int axis = 0; axis < 3; axis++)
    if (neighbour[axis] < field.row_count) change(neighbour[axis], scale * difference[axis]);
}

}  // namespace plenoxels
