// How lanes share the rows of voxels: adjacent lanes hold adjacent columns, so that a row is read as whole memory lines.
#pragma once

namespace plenoxels {

template <int Degree> struct LaneRow {
  static constexpr int kWidth = RowLayout<Degree>::width, kBand = RowLayout<Degree>::band_width, kDensity = 3 * kBand;
  static constexpr int kTogether = kWidth < kLanes ? kWidth : kLanes;  // lanes that share a row
  static constexpr int kColumns = kWidth / kTogether;                  // columns of each lane
  static constexpr int kParts = kLanes / kTogether;                    // rows at once
  static constexpr int kCorners = kParts < 8 ? 8 / kParts : 1;         // corners of a cell for each part
};

// This lane's columns: which row of several, which columns, and the direction's harmonics there.
template <int Degree> struct Columns {
  typedef LaneRow<Degree> Row;
  int part, first;
  int channel[Row::kColumns];   // 0 to 2; 3 where a column holds no harmonic
  float factor[Row::kColumns];  // its harmonic in the ray's direction, else 0

  inline int column(int j) const { return first + j * Row::kTogether; }
  inline bool is_density(int j) const { return column(j) == Row::kDensity; }

  inline Columns(const float* direction, int lane) : part(lane / Row::kTogether), first(lane % Row::kTogether) {
    constexpr int kHarmonics = (Degree + 1) * (Degree + 1);
    float h[kHarmonics > 1 ? kHarmonics : 2];
    h[0] = kFirstHarmonic;
    higher_harmonics<Degree>(direction, h);
    for (int j = 0; j < Row::kColumns; j++) {
      const int behind = column(j) - Row::kDensity;
      const bool higher = behind < 0;
      const int band = Row::kBand > 0 ? Row::kBand : 1;
      const int harmonic = higher ? column(j) % band + 1 : 0;
      const bool used = higher ? harmonic < kHarmonics : behind >= 1 && behind <= 3;
      channel[j] = !used ? 3 : higher ? column(j) / band : behind - 1;
      factor[j] = 0;
      // By arithmetic, which no compiler turns into a lookup: registers cannot be indexed.
      for (int k = 0; k < kHarmonics; k++) factor[j] += (float)(used && harmonic == k) * h[k];
    }
  }
};

inline int corner_place(int corner) { return (corner >> 2) * kBrickX + ((corner >> 1) & 1) * kBrickY + (corner & 1); }

inline float corner_weight(int corner, const float* f) {
  return (corner & 4 ? f[0] : 1 - f[0]) * (corner & 2 ? f[1] : 1 - f[1]) * (corner & 1 ? f[2] : 1 - f[2]);
}

}  // namespace plenoxels
