// The sRGB curve with its slopes, extended beyond 1 by the same power (contracts/vdb.md).
#pragma once

namespace plenoxels {

inline float power(float base, float exponent) { return exp2f(exponent * log2f(base)); }

// Light of an encoded value >= 0.
inline float srgb_decode(float value, float& slope) {
  const float base = (greatest(value, 0.04045f) + 0.055f) * (1.f / 1.055f), light = power(base, 2.4f);
  const bool straight = value <= 0.04045f;
  slope = straight ? 1.f / 12.92f : (2.4f / 1.055f) * light / base;
  return straight ? value * (1.f / 12.92f) : light;
}

// The inverse: encoded value of light >= 0.
inline float srgb_encode(float light, float& slope) {
  const float base = greatest(light, 0.0031308f), root = power(base, 1.f / 2.4f);
  const bool straight = light <= 0.0031308f;
  slope = straight ? 12.92f : (1.055f / 2.4f) * root / base;
  return straight ? light * 12.92f : 1.055f * root - 0.055f;
}

// What a sample adds to the composite, from its unclamped value; slope: the derivative, 0 where the value is clamped.
inline float shown(const Settings& settings, float value, float& slope) {
  if (!(value > 0)) {
    slope = 0;
    return 0;
  }
  if (settings.linear) return srgb_decode(value, slope);
  slope = 1;
  return value;
}

}  // namespace plenoxels
