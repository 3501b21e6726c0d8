// Vector types and the few functions the kernels need. Clang vector extensions only: no libc, no intrinsics headers, so that
// Warp's embedded compiler builds it for x86-64 and arm64 alike.
#pragma once

namespace plenoxels {

typedef float f4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));
typedef int i8 __attribute__((vector_size(32)));

inline float least(float a, float b) { return a < b ? a : b; }
inline float greatest(float a, float b) { return a > b ? a : b; }
inline int least(int a, int b) { return a < b ? a : b; }
inline int greatest(int a, int b) { return a > b ? a : b; }

inline f8 splat(float x) { return f8{x, x, x, x, x, x, x, x}; }
inline i8 splat(int x) { return i8{x, x, x, x, x, x, x, x}; }

inline float sum(f4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
inline float sum(f8 v) {
  return sum(__builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7));
}

// 2^x, relative error below 2e-7 (Cephes' polynomial for exp, after the whole part is taken off).
inline f8 exp2(f8 x) {
  x = __builtin_elementwise_max(splat(-126.f), __builtin_elementwise_min(splat(126.f), x));
  f8 whole = __builtin_elementwise_floor(x + 0.5f);
  f8 r = (x - whole) * 0.69314718056f;
  f8 p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  i8 bits = (__builtin_convertvector(whole, i8) + 127) << 23;
  return p * (f8)bits;
}

inline f8 exp(f8 x) { return exp2(x * 1.44269504089f); }

// log2(x) for normal positive x, absolute error below 3e-7 (Cephes' polynomial for log on [sqrt(1/2), sqrt(2)]).
inline f8 log2(f8 x) {
  i8 bits = (i8)x;
  i8 exponent = ((bits >> 23) & 0xff) - 126;
  f8 m = (f8)((bits & 0x007fffff) | 0x3f000000);
  i8 low = m < 0.70710678118f;
  exponent += low;
  m = m - 1.f + (f8)((i8)m & low);
  f8 z = m * m;
  f8 p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z - 0.5f * z;
  return __builtin_convertvector(exponent, f8) + (m + p) * 1.44269504089f;
}

inline f8 select(i8 mask, f8 yes, f8 no) { return (f8)(((i8)yes & mask) | ((i8)no & ~mask)); }

// The sRGB curve, encoded value >= 0 to light, extended beyond 1 by the same power (contracts/vdb.md); slope: its derivative.
inline f8 srgb_decode(f8 value, f8& slope) {
  f8 base = (__builtin_elementwise_max(value, splat(0.04045f)) + 0.055f) * (1.f / 1.055f);
  f8 power = exp2(2.4f * log2(base));
  i8 straight = value <= 0.04045f;
  slope = select(straight, splat(1.f / 12.92f), (2.4f / 1.055f) * power / base);
  return select(straight, value * (1.f / 12.92f), power);
}

// The inverse: light >= 0 to encoded value; slope: its derivative.
inline f8 srgb_encode(f8 light, f8& slope) {
  f8 base = __builtin_elementwise_max(light, splat(0.0031308f));
  f8 power = exp2((1.f / 2.4f) * log2(base));
  i8 straight = light <= 0.0031308f;
  slope = select(straight, splat(12.92f), (1.055f / 2.4f) * power / base);
  return select(straight, light * 12.92f, 1.055f * power - 0.055f);
}

}  // namespace plenoxels
