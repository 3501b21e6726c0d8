// Marching one ray: as many successive samples at once as there are lanes, a lane each.
#pragma once

namespace plenoxels {

// A ray in vertices of the field, from its first to behind its last possible sample.
struct Path {
  float origin[3], direction[3], inverse[3];
  float near, far;
};

inline Path enter(const Field& field, const Settings& settings, const float* origin, const float* direction, float jitter) {
  Path path;
  path.near = 0;
  path.far = 3e38f;
  for (int axis = 0; axis < 3; axis++) {
    path.origin[axis] = (origin[axis] - field.origin[axis]) * field.inverse_voxel_size[axis];
    path.direction[axis] = direction[axis] * field.inverse_voxel_size[axis];
    const float d = path.direction[axis], size = d < 0 ? -d : d;
    path.inverse[axis] = 1.f / (size < 1e-12f ? 1e-12f : d);
    const float t0 = (field.clip_min[axis] - path.origin[axis]) * path.inverse[axis],
                t1 = (field.clip_max[axis] - path.origin[axis]) * path.inverse[axis];
    path.near = greatest(path.near, least(t0, t1));
    path.far = least(path.far, greatest(t0, t1));
  }
  if (!(path.near < path.far)) path.far = -1;
  path.near += jitter * settings.step;
  return path;
}

// One lane's sample.
struct Sample {
  int place;          // of its cell's first corner in the records
  float fraction[3];  // where in the cell, 0 to 1
  float weight;       // compositing weight: transmittance before x opacity
  float transmittance_after;
};

inline float density_at(const Field& field, const Sample& sample) {
  float sigma = 0;
  for (int corner = 0; corner < 8; corner++)
    sigma += corner_weight(corner, sample.fraction) * fixed(field.brick_density + sample.place + corner_place(corner));
  return greatest(sigma, 0.f);
}

struct Marched {
  float transmittance;  // left behind the last sample
  int samples;          // whose density was read
};

// Calls visit(sample, chosen) with all lanes wherever some samples weigh enough to be coloured; `chosen` has their lanes' bits.
template <class Visit>
inline Marched march(const Field& field, const Settings& settings, const Path& path, int lane, Visit visit) {
  const float step = settings.step;
  Marched marched = {1, 0};
  for (int k = 0; path.near + k * step < path.far;) {
    const float t = path.near + (float)(k + lane) * step;
    Sample sample;
    int cell[3];
    for (int axis = 0; axis < 3; axis++) {
      const float position = path.origin[axis] + t * path.direction[axis];
      cell[axis] = least(greatest((int)position, 0), (int)field.clip_max[axis] - 1);
      sample.fraction[axis] = position - cell[axis];
    }
    const int brick =
        fixed(field.bricks + ((cell[0] >> 3) * field.brick_count[1] + (cell[1] >> 3)) * field.brick_count[2] + (cell[2] >> 3));
    int next = k + lane + 1;
    if (brick < 0) {  // every brick closer than -brick is empty: the next sample of interest lies beyond that cube of bricks
      const int reach = -brick - 1;
      float leave = 3e38f;
      for (int axis = 0; axis < 3; axis++) {
        const int edge = (cell[axis] >> 3) + (path.direction[axis] > 0 ? 1 + reach : -reach);
        leave = least(leave, (edge * 8 - path.origin[axis]) * path.inverse[axis]);
      }
      next = greatest(next, (int)least(ceilf((leave - path.near) / step), 1e9f));
    }
    k = from_lane(next, kLanes - 1);

    const bool inside = brick > 0 && t < path.far;
    sample.place = greatest(brick, 0) * kBrickStride + (cell[0] & 7) * kBrickX + (cell[1] & 7) * kBrickY + (cell[2] & 7);
    const float sigma = inside ? density_at(field, sample) : 0.f;
    const unsigned read = where(inside);
    if (!where(sigma > 0)) {
      marched.samples += bit_count(read);
      continue;
    }
    const float passed = expf(-step * sigma);
    sample.transmittance_after = marched.transmittance * running_product(passed, lane);
    const float before = from_before(sample.transmittance_after, 1);
    sample.weight = (lane == 0 ? marched.transmittance : before) * (1 - passed);
    // The ray ends with the first sample behind which too little light is left.
    const unsigned opaque = where(sample.transmittance_after < settings.transmittance_threshold);
    const int last = opaque ? lowest_bit(opaque) : kLanes - 1;
    const unsigned reached = (2u << last) - 1;
    const unsigned chosen = where(sigma > 0 && sample.weight > settings.weight_threshold) & reached;
    marched.samples += bit_count(read & reached);
    marched.transmittance = from_lane(sample.transmittance_after, last);
    if (chosen) visit(sample, chosen);
    if (opaque) break;
  }
  return marched;
}

}  // namespace plenoxels
