// The second half of ordered.h: one owner of rows adds its part of all contributions.
#pragma once

namespace plenoxels {

// Lists [0, count) in the order of their rays; gradients.owner's rows alone are changed.
template <int Degree>
inline void scatter_owned(const Field& field, const Rays& rays, const Gradients& gradients, const ContributionList* lists,
                          int count) {
  constexpr int kAhead = 4, kWidth = Row<Degree>::width;
  const unsigned long long own = 1ull << gradients.owner;
  for (int l = 0; l < count; l++) {
    const ContributionList& list = lists[l];
    int ray = -1;
    Basis<Degree> basis(rays.directions);
    for (int i = 0; i < list.count; i++) {
      if (i + kAhead < list.count && list.items[i + kAhead].owners & own)
        for (int c = 0; c < 8; c++) {
          const int row = list.items[i + kAhead].row[c];
          if (!owns(gradients, row)) continue;
          const char* line = (const char*)(gradients.rows + (long long)row * kWidth);
          __builtin_prefetch(line, 1);
          if (kWidth > 16) __builtin_prefetch(line + 64, 1);
          if (kWidth > 32) __builtin_prefetch(line + 128, 1);
        }
      const Contribution& item = list.items[i];
      if (!(item.owners & own)) continue;
      if (item.ray != ray) {
        ray = item.ray;
        basis = Basis<Degree>(rays.directions + 3 * (long long)ray);
      }
      Sample sample;
      for (int c = 0; c < 8; c++) {
        sample.row[c] = owns(gradients, item.row[c]) ? item.row[c] : field.row_count;  // scatter leaves that row out
        sample.corner_weight[c] = item.corner_weight[c];
      }
      sample.weight = item.weight;
      TouchedRows unlisted = {};
      scatter<Degree>(field, gradients, basis, sample, item.sigma_gradient, item.value_gradient, unlisted);
    }
  }
}

}  // namespace plenoxels
