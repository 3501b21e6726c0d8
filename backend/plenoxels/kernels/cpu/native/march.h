// Marching one ray: eight samples at once in SIMD lanes, whole empty bricks skipped by the distance stored in them.
#pragma once

namespace plenoxels {

struct Sample {
  int row[8];
  float corner_weight[8];
  float weight;               // compositing weight: transmittance before x opacity
  float transmittance_after;
  float value[3];             // harmonics' sum + 0.5, not yet clamped
  float light[3];             // what is composited
  float slope[3];             // d light / d value, 0 where the value is clamped
};

// Finds the samples that matter along a ray (weight above the threshold) and prefetches their rows. Returns their number;
// `transmittance` is what is left behind the last one.
template <int Degree>
inline int march(const Field& field, const Settings& settings, const float* origin, const float* direction, float jitter,
                 Work& work, float& transmittance) {
  constexpr int kWidth = Row<Degree>::width;
  Sample* samples = (Sample*)work.samples;
  float o[3], d[3], inverse[3];
  float near = 0, far = 3e38f;
  for (int axis = 0; axis < 3; axis++) {
    o[axis] = (origin[axis] - field.origin[axis]) * field.inverse_voxel_size[axis];
    d[axis] = direction[axis] * field.inverse_voxel_size[axis];
    float safe = __builtin_fabsf(d[axis]) < 1e-12f ? 1e-12f : d[axis];
    inverse[axis] = 1.f / safe;
    float t0 = (field.clip_min[axis] - o[axis]) * inverse[axis], t1 = (field.clip_max[axis] - o[axis]) * inverse[axis];
    near = greatest(near, least(t0, t1));
    far = least(far, greatest(t0, t1));
  }
  transmittance = 1;
  if (!(near < far)) return 0;
  near += jitter * settings.step;

  const float step = settings.step, inverse_step = 1.f / step;
  const int by = field.brick_count[1], bz = field.brick_count[2];
  const i8 limit_x = splat((int)field.clip_max[0] - 1), limit_y = splat((int)field.clip_max[1] - 1),
           limit_z = splat((int)field.clip_max[2] - 1), zero = splat(0);
  const f8 lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  float t_left = 1;
  int count = 0, k = 0;
  for (;;) {
    const float t_first = near + k * step;
    if (!(t_first < far)) break;
    const int cx = least(greatest((int)(o[0] + t_first * d[0]), 0), limit_x[0]),
              cy = least(greatest((int)(o[1] + t_first * d[1]), 0), limit_y[0]),
              cz = least(greatest((int)(o[2] + t_first * d[2]), 0), limit_z[0]);
    const int brick_x = cx >> 3, brick_y = cy >> 3, brick_z = cz >> 3;
    const int here = field.bricks[(brick_x * by + brick_y) * bz + brick_z];
    if (here < 0) {  // every brick closer than -here is empty: go to the first sample beyond that cube of bricks
      const int reach = -here - 1;
      const float tx = ((brick_x + (d[0] > 0 ? 1 + reach : -reach)) * 8 - o[0]) * inverse[0],
                  ty = ((brick_y + (d[1] > 0 ? 1 + reach : -reach)) * 8 - o[1]) * inverse[1],
                  tz = ((brick_z + (d[2] > 0 ? 1 + reach : -reach)) * 8 - o[2]) * inverse[2];
      const float steps = __builtin_ceilf((least(tx, least(ty, tz)) - near) * inverse_step);
      k = greatest(k + 1, (int)least(steps, 1e9f));
      continue;
    }
    const f8 t = near + ((float)k + lanes) * step;
    const f8 px = o[0] + t * d[0], py = o[1] + t * d[1], pz = o[2] + t * d[2];
    const i8 x = __builtin_elementwise_min(__builtin_elementwise_max(__builtin_convertvector(px, i8), zero), limit_x);
    const i8 y = __builtin_elementwise_min(__builtin_elementwise_max(__builtin_convertvector(py, i8), zero), limit_y);
    const i8 z = __builtin_elementwise_min(__builtin_elementwise_max(__builtin_convertvector(pz, i8), zero), limit_z);
    const f8 fx = px - __builtin_convertvector(x, f8), fy = py - __builtin_convertvector(y, f8),
             fz = pz - __builtin_convertvector(z, f8);
    const f8 gx = 1.f - fx, gy = 1.f - fy, gz = 1.f - fz;
    const f8 x0y0 = gx * gy, x0y1 = gx * fy, x1y0 = fx * gy, x1y1 = fx * fy;
    alignas(32) f8 weights[8] = {x0y0 * gz, x0y0 * fz, x0y1 * gz, x0y1 * fz, x1y0 * gz, x1y0 * fz, x1y1 * gz, x1y1 * fz};
    alignas(32) int brick[8], place[8];
    *(i8*)brick = ((x >> 3) * by + (y >> 3)) * bz + (z >> 3);
    *(i8*)place = (x & 7) * kBrickX + (y & 7) * kBrickY + (z & 7);
    alignas(32) float density[8][8];
    for (int lane = 0; lane < 8; lane++) {
      place[lane] += greatest(field.bricks[brick[lane]], 0) * kBrickStride;
      const float* corner = field.brick_density + place[lane];
      for (int c = 0; c < 8; c++) density[c][lane] = corner[kCorner[c]];
    }
    f8 sigma = weights[0] * *(f8*)density[0];
    for (int c = 1; c < 8; c++) sigma += weights[c] * *(f8*)density[c];
    sigma = __builtin_elementwise_max(select(t < far, sigma, splat(0.f)), splat(0.f));
    work.marched += 8;
    k += 8;
    alignas(32) float sigma_lane[8], passed[8];
    *(f8*)sigma_lane = sigma;
    *(f8*)passed = exp(-step * sigma);
    for (int lane = 0; lane < 8; lane++) {
      if (sigma_lane[lane] <= 0) continue;
      const float weight = t_left * (1 - passed[lane]);
      t_left *= passed[lane];
      if (weight > settings.weight_threshold && count < work.sample_capacity) {
        Sample& sample = samples[count++];
        const int* row = field.brick_rows + place[lane];
        for (int c = 0; c < 8; c++) {
          sample.row[c] = row[kCorner[c]];
          sample.corner_weight[c] = weights[c][lane];
        }
        for (int c = 0; c < 8; c++) {
          const char* line = (const char*)(field.rows + (long long)sample.row[c] * kWidth);
          __builtin_prefetch(line);
          if (kWidth > 16) __builtin_prefetch(line + 64);
          if (kWidth > 32) __builtin_prefetch(line + 128);
        }
        sample.weight = weight;
        sample.transmittance_after = t_left;
      }
      if (t_left < settings.transmittance_threshold) goto opaque;
    }
  }
opaque:
  transmittance = t_left;
  return count;
}

}  // namespace plenoxels
