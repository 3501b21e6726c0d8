// From samples to pixels, and the exact gradients of a loss by every voxel's row. Two ways of sharing the work alternate: a lane per
// sample for what a sample weighs and shows, a lane per column where the eight rows around one sample are read or added to.
#pragma once

namespace plenoxels {

struct Gradients {
  float* rows;                // [row_count + 1, row width]
  unsigned char* visibility;  // [row_count + 1] code of the greatest weight since the last optimiser step, 0 untouched
  double* totals;             // squared error, samples marched, samples coloured; or null
};

// What the lanes of a ray hold in common, so that it costs no registers of each.
template <int Kept> struct RayMemory {
  Path path;
  float values[3][Kept];  // of the first coloured samples, so that the second pass need not read their rows again
};

// 0.5 + the harmonics' sum for each chosen lane's sample, RGB, not clamped; 0 for the others.
template <int Degree>
inline void sample_values(const Field& field, const Columns<Degree>& columns, const Sample& sample, unsigned chosen, int lane,
                          float* value) {
  typedef LaneRow<Degree> Row;
  value[0] = value[1] = value[2] = 0;
  for (unsigned rest = chosen; rest; rest &= rest - 1) {
    const int owner = lowest_bit(rest), place = from_lane(sample.place, owner);
    const float f[3] = {from_lane(sample.fraction[0], owner), from_lane(sample.fraction[1], owner),
                        from_lane(sample.fraction[2], owner)};
    float interpolated[Row::kColumns] = {};
    for (int i = 0; i < Row::kCorners; i++) {
      const int corner = i * Row::kParts + columns.part;
      const float w = corner_weight(corner, f);
      const float* row = field.rows + (long long)fixed(field.brick_rows + place + corner_place(corner)) * Row::kWidth;
      for (int j = 0; j < Row::kColumns; j++) interpolated[j] += w * fixed(row + columns.column(j));
    }
    float sum[3] = {};
    for (int j = 0; j < Row::kColumns; j++)
      for (int channel = 0; channel < 3; channel++)
        if (columns.channel[j] == channel) sum[channel] += columns.factor[j] * interpolated[j];
    sum_colour(sum, lane);
    for (int channel = 0; channel < 3; channel++)
      if (lane == owner) value[channel] = 0.5f + sum[channel];
  }
}

// Adds the chosen samples' gradients, each spread over its eight voxels. Successive samples in one cell are added up first: atomic
// additions are the dearest part of a step.
template <int Degree>
inline void scatter(const Field& field, const Gradients& gradients, const Columns<Degree>& columns, const Sample& sample,
                    unsigned chosen, int lane, float by_sigma, const float* by_value) {
  typedef LaneRow<Degree> Row;
  const int code = weight_code(sample.weight);
  float change[Row::kCorners][Row::kColumns] = {};
  int greatest_code = 0;
  for (unsigned rest = chosen; rest; rest &= rest - 1) {
    const int owner = lowest_bit(rest), place = from_lane(sample.place, owner);
    const float f[3] = {from_lane(sample.fraction[0], owner), from_lane(sample.fraction[1], owner),
                        from_lane(sample.fraction[2], owner)};
    const float density = from_lane(by_sigma, owner);
    const float colour[3] = {from_lane(by_value[0], owner), from_lane(by_value[1], owner), from_lane(by_value[2], owner)};
    greatest_code = greatest(greatest_code, from_lane(code, owner));
    for (int j = 0; j < Row::kColumns; j++) {
      const int channel = columns.channel[j];
      const float along =
          columns.is_density(j) ? density : columns.factor[j] * (channel == 0 ? colour[0] : channel == 1 ? colour[1] : colour[2]);
      for (int i = 0; i < Row::kCorners; i++) change[i][j] += corner_weight(i * Row::kParts + columns.part, f) * along;
    }
    const unsigned behind = rest & (rest - 1);
    if (behind && from_lane(sample.place, lowest_bit(behind)) == place) continue;

    for (int i = 0; i < Row::kCorners; i++) {
      const int index = fixed(field.brick_rows + place + corner_place(i * Row::kParts + columns.part));
      float* row = gradients.rows + (long long)index * Row::kWidth;
      for (int j = 0; j < Row::kColumns; j++) {
        if (index < field.row_count && change[i][j] != 0) add(row + columns.column(j), change[i][j]);
        change[i][j] = 0;
      }
    }
    for (int corner = lane; corner < 8; corner += kLanes) {
      const int index = fixed(field.brick_rows + place + corner_place(corner));
      if (index < field.row_count) raise(gradients.visibility + index, (unsigned char)greatest_code);
    }
    greatest_code = 0;
  }
}

// Renders a ray; with Backward it also adds the gradients of the loss by the field: it marches again, front to back, and what lies
// behind a sample is the finished composite minus what has been composited so far, so that no list of samples is kept.
// The loss is the sum of squared differences from the targets, and 3 * opacity_weight times that of the opacity from the wanted one;
// gradients are those of gradient_scale / 2 times it.
template <int Degree, bool Backward>
inline void render_ray(const Field& field, const Rays& rays, const Settings& settings, const Gradients& gradients, int ray, int lane) {
  const long long at = 3ll * ray;
  const float direction[3] = {rays.directions[at], rays.directions[at + 1], rays.directions[at + 2]};
  const float origin[3] = {rays.origins[at], rays.origins[at + 1], rays.origins[at + 2]};
  const Columns<Degree> columns(direction, lane);
  constexpr int kKept = Backward ? 64 : 1;
  PLENOXELS_RAY_MEMORY(RayMemory<kKept>, memory);
  memory.path = enter(field, settings, origin, direction, rays.jitter ? rays.jitter[ray] : 0.5f);
  meet();

  float composite[3] = {0, 0, 0};
  int coloured = 0;
  const Marched marched = march(field, settings, memory.path, lane, [&](const Sample& sample, unsigned chosen) {
    float value[3], slope;
    sample_values<Degree>(field, columns, sample, chosen, lane, value);
    const bool mine = (chosen >> lane) & 1;
    const int rank = coloured + bit_count(chosen & ((1u << lane) - 1));
    coloured += bit_count(chosen);
    for (int channel = 0; channel < 3; channel++) {
      if (mine) composite[channel] += sample.weight * shown(settings, value[channel], slope);
      if (Backward && mine && rank < kKept) memory.values[channel][rank] = value[channel];
    }
  });
  sum_colour(composite, lane);

  float by_composite[3], squared_error = 0, behind = 0;
  for (int channel = 0; channel < 3; channel++) {
    composite[channel] += marched.transmittance * settings.background[channel];
    float pixel = composite[channel], slope = 1;
    if (settings.linear) pixel = srgb_encode(composite[channel], slope);
    if (lane == 0 && rays.pixels) rays.pixels[at + channel] = pixel;
    if constexpr (Backward) {
      const float target = rays.targets[at + channel], difference = settings.targets_are_gradients ? target : pixel - target;
      squared_error += difference * difference;
      by_composite[channel] = settings.gradient_scale * difference * slope;
      behind += composite[channel] * by_composite[channel];
    }
  }
  if (lane == 0 && rays.transmittance) rays.transmittance[ray] = marched.transmittance;
  if constexpr (Backward) {
    behind += marched.transmittance * gradient_by_transmittance(rays, settings, ray, marched.transmittance);
    if (lane == 0 && gradients.totals) {
      add(gradients.totals, (double)squared_error);
      add(gradients.totals + 1, (double)marched.samples);
      add(gradients.totals + 2, (double)coloured);
    }
    meet();  // the kept values are written
    coloured = 0;
    march(field, settings, memory.path, lane, [&](const Sample& sample, unsigned chosen) {
      float value[3] = {0, 0, 0};
      const bool mine = (chosen >> lane) & 1;
      const int rank = coloured + bit_count(chosen & ((1u << lane) - 1));
      coloured += bit_count(chosen);
      if (coloured > kKept) {
        sample_values<Degree>(field, columns, sample, chosen, lane, value);
      } else if (mine) {
        for (int channel = 0; channel < 3; channel++) value[channel] = memory.values[channel][rank];
      }
      float along = 0, by_value[3];
      for (int channel = 0; channel < 3; channel++) {
        float slope;
        along += by_composite[channel] * shown(settings, value[channel], slope);
        by_value[channel] = by_composite[channel] * sample.weight * slope;
      }
      // d composite / d sigma = step * (transmittance after the sample * its light - everything composited behind it)
      const float sum = running_sum(mine ? sample.weight * along : 0.f, lane);
      const float by_sigma = settings.step * (sample.transmittance_after * along - (behind - sum));
      behind -= from_lane(sum, kLanes - 1);
      scatter<Degree>(field, gradients, columns, sample, chosen, lane, by_sigma, by_value);
    });
  }
}

}  // namespace plenoxels
