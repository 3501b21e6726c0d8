// From samples to pixels, and the exact gradients of a loss by every voxel's row.
#pragma once

namespace plenoxels {

template <int Degree> struct Basis {
  float first;
  typename Row<Degree>::Band bands[2];
  inline explicit Basis(const float* direction) {
    alignas(32) float h[32] = {};
    harmonics<Degree>(direction, h + 4);  // higher coefficients land at h + 8
    first = h[4];
    __builtin_memcpy(bands, h + 8, sizeof(float) * Row<Degree>::band_width);
  }
};

template <int Degree> inline void sample_value(const Field& field, const Basis<Degree>& basis, Sample& sample) {
  typedef typename Row<Degree>::Band Band;
  constexpr int kBands = Row<Degree>::bands, kWidth = Row<Degree>::width;
  Band higher[3 * (kBands ? kBands : 1)] = {};
  f4 last = {};
  for (int c = 0; c < 8; c++) {
    const float* row = field.rows + (long long)sample.row[c] * kWidth;
    const float w = sample.corner_weight[c];
    for (int b = 0; b < 3 * kBands; b++) higher[b] += w * ((const Band*)row)[b];
    last += w * *(const f4*)(row + 3 * Row<Degree>::band_width);
  }
  for (int channel = 0; channel < 3; channel++) {
    float v = 0.5f + basis.first * last[channel + 1];
    for (int b = 0; b < kBands; b++) v += sum(higher[channel * kBands + b] * basis.bands[b]);
    sample.value[channel] = v;
  }
}

// What each sample adds to the composite: its clamped value, decoded to light where light is composited.
inline void sample_light(const Settings& settings, Sample* samples, int count) {
  if (!settings.linear) {
    for (int i = 0; i < count; i++)
      for (int channel = 0; channel < 3; channel++) {
        samples[i].light[channel] = greatest(samples[i].value[channel], 0.f);
        samples[i].slope[channel] = samples[i].value[channel] > 0 ? 1.f : 0.f;
      }
    return;
  }
  for (int i = 0; i < count; i += 2) {  // two samples' six channels fill a vector
    Sample &a = samples[i], &b = samples[i + 1 < count ? i + 1 : i];
    f8 value = {a.value[0], a.value[1], a.value[2], b.value[0], b.value[1], b.value[2], 0, 0}, slope;
    const f8 light = srgb_decode(__builtin_elementwise_max(value, splat(0.f)), slope);
    slope = select(value > 0.f, slope, splat(0.f));
    for (int channel = 0; channel < 3; channel++) {
      a.light[channel] = light[channel];
      a.slope[channel] = slope[channel];
      b.light[channel] = light[channel + 3];
      b.slope[channel] = slope[channel + 3];
    }
  }
}

struct Lock {
  unsigned char* flag;
  inline Lock(unsigned char* locks, int row) : flag(locks ? locks + (((unsigned)row * 2654435761u) >> 18) : nullptr) {
    if (flag)
      while (__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE)) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
  }
  inline ~Lock() {
    if (flag) __atomic_store_n(flag, 0, __ATOMIC_RELEASE);
  }
};

// Adds one sample's gradient, spread over its eight voxels.
template <int Degree>
inline void scatter(const Field& field, const Gradients& gradients, const Basis<Degree>& basis, const Sample& sample,
                    float sigma_gradient, const float* value_gradient, TouchedRows& touched) {
  typedef typename Row<Degree>::Band Band;
  constexpr int kBands = Row<Degree>::bands, kWidth = Row<Degree>::width;
  Band higher[3 * (kBands ? kBands : 1)];
  for (int channel = 0; channel < 3; channel++)
    for (int b = 0; b < kBands; b++) higher[channel * kBands + b] = basis.bands[b] * value_gradient[channel];
  const f4 last = {sigma_gradient, basis.first * value_gradient[0], basis.first * value_gradient[1],
                   basis.first * value_gradient[2]};
  const unsigned char code = weight_code(sample.weight);
  for (int c = 0; c < 8; c++) {
    const int index = sample.row[c];
    if (index >= field.row_count) continue;
    const float w = sample.corner_weight[c];
    float* row = gradients.rows + (long long)index * kWidth;
    const Lock lock(gradients.locks, index);
    if (gradients.visibility[index] < code) {
      if (!gradients.visibility[index] && touched.count < touched.capacity) touched.rows[touched.count++] = index;
      gradients.visibility[index] = code;
    }
    for (int b = 0; b < 3 * kBands; b++) ((Band*)row)[b] += w * higher[b];
    *(f4*)(row + 3 * Row<Degree>::band_width) += w * last;
  }
}

// Renders rays [begin, end); with Backward it also adds the gradients of the loss by the field.
// The loss is the sum of squared differences from the targets, and 3 * opacity_weight times that of the opacity from the wanted one;
// gradients are those of gradient_scale / 2 times it.
template <int Degree, bool Backward>
inline void render_rays(const Field& field, const Rays& rays, const Settings& settings, const Gradients& gradients, Work& work,
                        int begin, int end) {
  constexpr int kWidth = Row<Degree>::width;
  Sample* samples = (Sample*)work.samples;
  for (int i = begin; i < end; i++) {
    if (Backward && work.kept) {
      work.kept->next_ray = i;
      if (!has_room(*work.kept, work.sample_capacity)) return;
    }
    const float* direction = rays.directions + 3 * i;
    const Basis<Degree> basis(direction);
    float transmittance;
    const int count = march<Degree>(field, settings, rays.origins + 3 * i, direction, rays.jitter ? rays.jitter[i] : 0.5f, work,
                                    transmittance);
    work.coloured += count;
    for (int s = 0; s < count; s++) {
      sample_value<Degree>(field, basis, samples[s]);
      if (Backward)
        for (int c = 0; c < 8; c++) {
          const char* line = (const char*)(gradients.rows + (long long)samples[s].row[c] * kWidth);
          __builtin_prefetch(line, 1);
          if (kWidth > 16) __builtin_prefetch(line + 64, 1);
          if (kWidth > 32) __builtin_prefetch(line + 128, 1);
        }
    }
    sample_light(settings, samples, count);
    float composite[3] = {0, 0, 0};
    for (int s = 0; s < count; s++)
      for (int channel = 0; channel < 3; channel++) composite[channel] += samples[s].weight * samples[s].light[channel];
    float pixel[3], pixel_slope[3] = {1, 1, 1};
    for (int channel = 0; channel < 3; channel++)
      pixel[channel] = composite[channel] += transmittance * settings.background[channel];
    if (settings.linear) {
      f8 slope;
      const f8 encoded = srgb_encode(f8{composite[0], composite[1], composite[2], 0, 0, 0, 0, 0}, slope);
      for (int channel = 0; channel < 3; channel++) {
        pixel[channel] = encoded[channel];
        pixel_slope[channel] = slope[channel];
      }
    }
    for (int channel = 0; channel < 3; channel++) rays.pixels[3 * i + channel] = pixel[channel];
    if (rays.transmittance) rays.transmittance[i] = transmittance;
    if (!Backward) continue;

    float g[3];  // gradient by the composite
    for (int channel = 0; channel < 3; channel++) {
      const float target = rays.targets[3 * i + channel];
      const float difference = settings.targets_are_gradients ? target : pixel[channel] - target;
      work.loss += (double)difference * difference;
      g[channel] = settings.gradient_scale * difference * pixel_slope[channel];
    }
    // d composite / d sigma_s = step * (transmittance after s * light_s - everything composited behind s)
    float behind = transmittance * gradient_by_transmittance(rays, settings, i, transmittance);
    for (int channel = 0; channel < 3; channel++) behind += transmittance * settings.background[channel] * g[channel];
    for (int s = count - 1; s >= 0; s--) {
      const Sample& sample = samples[s];
      float along = 0, value_gradient[3];
      for (int channel = 0; channel < 3; channel++) {
        along += g[channel] * sample.light[channel];
        value_gradient[channel] = g[channel] * sample.weight * sample.slope[channel];
      }
      const float sigma_gradient = settings.step * (sample.transmittance_after * along - behind);
      behind += sample.weight * along;
      if (work.kept) keep(*work.kept, field, i, sample, sigma_gradient, value_gradient);
      else scatter<Degree>(field, gradients, basis, sample, sigma_gradient, value_gradient, work.touched);
    }
  }
  if (Backward && work.kept) work.kept->next_ray = end;
}

}  // namespace plenoxels
