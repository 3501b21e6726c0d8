// The structures that Python fills (kernels/cpu/structures.py mirrors each member) and the layout of bricks and rows.
#pragma once

namespace plenoxels {

// A brick is 8^3 cells; its record holds the 9^3 vertices at their corners, so that any cell's eight corners lie in one record.
constexpr int kBrickX = 81, kBrickY = 9, kBrickStride = 736;
constexpr int kCorner[8] = {0, 1, kBrickY, kBrickY + 1, kBrickX, kBrickX + 1, kBrickX + kBrickY, kBrickX + kBrickY + 1};

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
};

struct Gradients {
  float* rows;                // [row_count + 1, row width]
  unsigned char* visibility;  // [row_count + 1] code of the greatest weight since the last optimiser step, 0 untouched
  unsigned char* locks;       // [kLocks], or null with one thread
};

// One worker's scratch memory and what it counted.
struct Work {
  void* samples;  // SampleList
  int sample_capacity;
  double loss;
  long long marched, coloured;
};

constexpr int kLocks = 16384;

// A weight's code: its float's exponent and three bits of mantissa, so 1 to 128 for weights from 1e-4 to 1, in order.
inline unsigned char weight_code(float weight) {
  int bits;
  __builtin_memcpy(&bits, &weight, 4);
  int code = (bits >> 20) - 0x378;
  return (unsigned char)(code < 1 ? 1 : code > 255 ? 255 : code);
}

template <int Degree> struct Row;
template <> struct Row<0> { typedef f4 Band; static constexpr int bands = 0, band_width = 0, width = 4; };
template <> struct Row<1> { typedef f4 Band; static constexpr int bands = 1, band_width = 4, width = 16; };
template <> struct Row<2> { typedef f8 Band; static constexpr int bands = 1, band_width = 8, width = 32; };
template <> struct Row<3> { typedef f8 Band; static constexpr int bands = 2, band_width = 16, width = 64; };

// Real spherical harmonics of a unit direction, svox2's order and constants (contracts/vdb.md). out[0] is k = 0,
// higher coefficients follow from out[4] on, so that they are aligned; unused places are 0.
template <int Degree> inline void harmonics(const float* d, float* out) {
  const float x = d[0], y = d[1], z = d[2];
  const float xx = x * x, yy = y * y, zz = z * z;
  for (int i = 0; i < 20; i++) out[i] = 0;
  out[0] = 0.28209479177387814f;
  float* h = out + 4 - 1;
  if (Degree >= 1) {
    h[1] = -0.4886025119029199f * y;
    h[2] = 0.4886025119029199f * z;
    h[3] = -0.4886025119029199f * x;
  }
  if (Degree >= 2) {
    h[4] = 1.0925484305920792f * x * y;
    h[5] = -1.0925484305920792f * y * z;
    h[6] = 0.31539156525252005f * (2 * zz - xx - yy);
    h[7] = -1.0925484305920792f * x * z;
    h[8] = 0.5462742152960396f * (xx - yy);
  }
  if (Degree >= 3) {
    h[9] = -0.5900435899266435f * y * (3 * xx - yy);
    h[10] = 2.890611442640554f * x * y * z;
    h[11] = -0.4570457994644658f * y * (4 * zz - xx - yy);
    h[12] = 0.3731763325901154f * z * (2 * zz - 3 * xx - 3 * yy);
    h[13] = -0.4570457994644658f * x * (4 * zz - xx - yy);
    h[14] = 1.445305721320277f * z * (xx - yy);
    h[15] = -0.5900435899266435f * x * (xx - 3 * yy);
  }
}

}  // namespace plenoxels
