// Gradients added in one order however the threads run. Marching keeps what each sample adds in a list, in the order of the rays;
// then every owner of rows walks through all lists and adds what falls on its own rows. Neither needs a lock.
#pragma once

namespace plenoxels {

// What one sample adds to the gradients of its eight rows.
struct Contribution {
  unsigned long long owners;  // bit per owner that has any of the rows
  int row[8];
  float corner_weight[8];
  float weight;
  float sigma_gradient, value_gradient[3];
  int ray;
};

struct ContributionList {
  Contribution* items;
  int capacity, count;
  int next_ray;  // the first ray that is not in the list
  int owners;
};

// Rows are dealt out in blocks of 64, scattered: neighbouring rows are often touched together, by few rays.
inline int owner_of(int row, int owners) {
  return (int)(((unsigned long long)((unsigned)(row >> 6) * 2654435761u) * (unsigned)owners) >> 32);
}

// Whether the caller adds this row's gradients; without owners everyone adds everything (and locks).
inline bool owns(const Gradients& gradients, int row) {
  return !gradients.owners || owner_of(row, gradients.owners) == gradients.owner;
}

inline bool has_room(const ContributionList& list, int samples) { return list.capacity - list.count >= samples; }

inline void keep(ContributionList& list, const Field& field, int ray, const Sample& sample, float sigma_gradient,
                 const float* value_gradient) {
  Contribution& item = list.items[list.count++];
  item.owners = 0;
  for (int c = 0; c < 8; c++) {
    item.row[c] = sample.row[c];
    item.corner_weight[c] = sample.corner_weight[c];
    if (sample.row[c] < field.row_count) item.owners |= 1ull << owner_of(sample.row[c], list.owners);
  }
  item.weight = sample.weight;
  item.sigma_gradient = sigma_gradient;
  for (int channel = 0; channel < 3; channel++) item.value_gradient[channel] = value_gradient[channel];
  item.ray = ray;
}

}  // namespace plenoxels
