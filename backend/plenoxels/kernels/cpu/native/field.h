// What the CPU's kernels alone need beside ../../native/layout.h; kernels/cpu/structures.py mirrors each structure.
#pragma once

namespace plenoxels {

constexpr int kCorner[8] = {0, 1, kBrickY, kBrickY + 1, kBrickX, kBrickX + 1, kBrickX + kBrickY, kBrickX + kBrickY + 1};

struct Gradients {
  float* rows;                // [row_count + 1, row width]
  unsigned char* visibility;  // [row_count + 1] code of the greatest weight since the last optimiser step, 0 untouched
  unsigned char* locks;       // [kLocks], or null where no two threads add to the same row
  int owner, owners;          // who adds, of how many, where rows have owners (ordered.h); owners 0: they have none
};

struct ContributionList;

// The rows that gradients were added to since they were last listed, each once, in the order in which rays met them.
struct TouchedRows {
  int* rows;
  int capacity, count;  // rows beyond the capacity are not listed; their visibility still says that they were touched
};

// One worker's scratch memory and what it counted.
struct Work {
  void* samples;  // SampleList
  int sample_capacity;
  double loss;
  long long marched, coloured;
  TouchedRows touched;     // only train_rays() wants the list
  ContributionList* kept;  // where gradients go instead of to the rows, or null (ordered.h)
};

constexpr int kLocks = 16384;

template <int Degree> struct Row;
template <> struct Row<0> { typedef f4 Band; static constexpr int bands = 0, band_width = 0, width = 4; };
template <> struct Row<1> { typedef f4 Band; static constexpr int bands = 1, band_width = 4, width = 16; };
template <> struct Row<2> { typedef f8 Band; static constexpr int bands = 1, band_width = 8, width = 32; };
template <> struct Row<3> { typedef f8 Band; static constexpr int bands = 2, band_width = 16, width = 64; };

// All harmonics of a unit direction. out[0] is k = 0, higher ones follow from out[4] on, so that they are aligned; unused places
// are 0.
template <int Degree> inline void harmonics(const float* d, float* out) {
  for (int i = 0; i < 20; i++) out[i] = 0;
  out[0] = kFirstHarmonic;
  higher_harmonics<Degree>(d, out + 4 - 1);
}

}  // namespace plenoxels
