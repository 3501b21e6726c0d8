// What the kernels of every device read: the structures that Python fills (mirrored member for member in cpu/structures.py and
// cuda/structures.py) and the layout of bricks and rows. Plain C++ without vectors, for Warp's clang and NVRTC alike.
#pragma once

namespace plenoxels {

// A brick is 8^3 cells; its record holds the 9^3 vertices at their corners, so that any cell's eight corners lie in one record.
constexpr int kBrickX = 81, kBrickY = 9, kBrickStride = 736;

struct Field {
  const int* bricks;           // [bx, by, bz] record of each brick, 0 none; an empty brick holds minus the number of bricks, in
                               // the largest of the three axes, to the nearest one that has a record
  float* brick_density;        // [records, kBrickStride]; record 0 is all zero
  const int* brick_rows;       // [records, kBrickStride] row of each vertex, row_count where inactive
  float* rows;                 // [row_count + 1, row width]
  const int* row_positions;    // places of every row in brick_density, the one inside its own brick first
  const int* row_position_start;  // [row_count + 1]
  float clip_min[3], clip_max[3];  // the box of cells with any active corner, in vertices
  float origin[3];             // world position of vertex (0, 0, 0)
  float inverse_voxel_size[3];
  int brick_count[3];
  int row_count;
};

struct Rays {
  const float* origins;     // [n, 3] world
  const float* directions;  // [n, 3] world, unit
  const float* targets;     // [n, 3] wanted pixels, or the loss's gradients by them (Settings.targets_are_gradients)
  const float* opacities;   // [n] wanted opacity, or the loss's gradients by the transmittance; null: no matter
  const float* jitter;      // [n] start of the first sample in steps, or null for 0.5
  float* pixels;            // [n, 3] out
  float* transmittance;     // [n] out, or null
};

struct Settings {
  float step;  // world units
  float weight_threshold;
  float transmittance_threshold;
  float background[3];  // light where compositing is linear, else encoded
  float gradient_scale;
  int linear;  // composite light
  int targets_are_gradients;
  float opacity_weight;
};

// The loss's gradient by what a ray lets through, `transmittance`.
inline float gradient_by_transmittance(const Rays& rays, const Settings& settings, int ray, float transmittance) {
  if (!rays.opacities) return 0;
  if (settings.targets_are_gradients) return settings.gradient_scale * rays.opacities[ray];
  return settings.gradient_scale * 3 * settings.opacity_weight * (transmittance - (1 - rays.opacities[ray]));
}

// A row: three bands of a colour's higher harmonics, then density, R_0, G_0, B_0, padding (grid/row_layout.py).
template <int Degree> struct RowLayout;
template <> struct RowLayout<0> { static constexpr int band_width = 0, width = 4; };
template <> struct RowLayout<1> { static constexpr int band_width = 4, width = 16; };
template <> struct RowLayout<2> { static constexpr int band_width = 8, width = 32; };
template <> struct RowLayout<3> { static constexpr int band_width = 16, width = 64; };

// A weight's code: its float's exponent and three bits of mantissa, so 1 to 128 for weights from 1e-4 to 1, in order.
inline unsigned char weight_code(float weight) {
  int bits;
  memcpy(&bits, &weight, 4);
  int code = (bits >> 20) - 0x378;
  return (unsigned char)(code < 1 ? 1 : code > 255 ? 255 : code);
}

}  // namespace plenoxels
