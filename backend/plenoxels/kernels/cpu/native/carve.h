// Which points may belong to an object, by its silhouettes in many views.
#pragma once

namespace plenoxels {

struct SilhouetteView {
  float world_to_camera[12];  // rows of [3, 4], OpenGL axes
  float fl_x, fl_y, cx, cy;
  int width, height;
  long long table;  // where its summed-area table [height + 1, width + 1] starts
};

struct Carve {
  const float* positions;      // [n, 3] world
  const SilhouetteView* views;
  const int* tables;           // summed-area tables of the masks (0 or 1)
  unsigned char* kept;         // [n] out
  int view_count;
  int least_views;  // a point that fewer views see is not kept
  float slack;      // world units a point may lie outside a silhouette
};

// A point stays if enough views see it and each that does has some of the silhouette within `slack` of it, measured in its pixels.
inline void carve(const Carve& work, int begin, int end) {
  for (int i = begin; i < end; i++) {
    const float* p = work.positions + 3 * (long long)i;
    int seen = 0;
    bool inside = true;
    for (int v = 0; v < work.view_count && inside; v++) {
      const SilhouetteView& view = work.views[v];
      const float* m = view.world_to_camera;
      const float depth = -(m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11]);
      if (depth < 1e-6f) continue;
      const float x = (m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3]) / depth * view.fl_x + view.cx;
      const float y = -(m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7]) / depth * view.fl_y + view.cy;
      if (!(x >= 0 && y >= 0 && x < view.width && y < view.height)) continue;
      seen++;
      const float radius = least(work.slack * greatest(view.fl_x, view.fl_y) / depth + 0.5f, 1e6f);
      const int column = (int)x, row = (int)y, reach = (int)__builtin_ceilf(radius), pitch = view.width + 1;
      const int left = greatest(column - reach, 0), right = least(column + reach + 1, view.width);
      const int top = greatest(row - reach, 0), bottom = least(row + reach + 1, view.height);
      const int* table = work.tables + view.table;
      inside = table[bottom * pitch + right] - table[top * pitch + right] - table[bottom * pitch + left] +
                   table[top * pitch + left] >
               0;
    }
    work.kept[i] = inside && seen >= work.least_views;
  }
}

}  // namespace plenoxels
