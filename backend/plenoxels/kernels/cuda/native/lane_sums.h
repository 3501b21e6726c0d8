// Sums and products over the lanes, by shuffles.
#pragma once

namespace plenoxels {

inline float least(float a, float b) { return a < b ? a : b; }
inline float greatest(float a, float b) { return a > b ? a : b; }
inline int least(int a, int b) { return a < b ? a : b; }
inline int greatest(int a, int b) { return a > b ? a : b; }

// The lanes' product up to and with this one.
inline float running_product(float value, int lane) {
  for (int distance = 1; distance < kLanes; distance *= 2) {
    const float before = from_before(value, distance);
    if (lane >= distance) value *= before;
  }
  return value;
}

inline float running_sum(float value, int lane) {
  for (int distance = 1; distance < kLanes; distance *= 2) {
    const float before = from_before(value, distance);
    if (lane >= distance) value += before;
  }
  return value;
}

// Replaces each of three numbers by its sum over all lanes: 9 shuffles, where three sums of their own would take 15. Halves, then
// quarters of the warp each go on with a number of their own.
inline void sum_colour(float* v, int lane) {
  if constexpr (kLanes == 32) {
    const bool upper = lane & 16, odd = lane & 8;
    const float kept = (upper ? v[2] : v[0]) + from_across(upper ? v[0] : v[2], 16);
    const float second = (upper ? 0.f : v[1]) + from_across(upper ? v[1] : 0.f, 16);
    float sum = (odd ? second : kept) + from_across(odd ? kept : second, 8);
    for (int bits = 4; bits > 0; bits /= 2) sum += from_across(sum, bits);
    for (int channel = 0; channel < 3; channel++) v[channel] = from_lane(sum, 8 * channel);
  }
}

}  // namespace plenoxels
