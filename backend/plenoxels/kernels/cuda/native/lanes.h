// The lanes that work on a ray together: a warp of 32 on CUDA. Elsewhere one lane does all, so that the same kernels run on a CPU
// as a check. Every lane must reach each of these functions, except those that touch memory.
#pragma once

namespace plenoxels {

#if defined(__CUDACC__)

constexpr int kLanes = 32;
constexpr unsigned kEveryLane = 0xffffffffu;

// Memory of one ray, shared by its lanes: shared memory, a part for each warp of the block.
#define PLENOXELS_RAY_MEMORY(Type, name)                       \
  __shared__ Type name##_of_warps[WP_TILE_BLOCK_DIM / kLanes]; \
  Type& name = name##_of_warps[threadIdx.x / kLanes]

template <class T> inline T from_lane(T value, int lane) { return __shfl_sync(kEveryLane, value, lane); }
// From `distance` lanes before; the first lanes get their own value.
template <class T> inline T from_before(T value, int distance) { return __shfl_up_sync(kEveryLane, value, distance); }
template <class T> inline T from_across(T value, int bits) { return __shfl_xor_sync(kEveryLane, value, bits); }
// A bit for each lane.
inline unsigned where(bool condition) { return __ballot_sync(kEveryLane, condition); }
inline void meet() { __syncwarp(); }
inline int bit_count(unsigned bits) { return __popc(bits); }
inline int lowest_bit(unsigned bits) { return __ffs((int)bits) - 1; }

// Reads what no kernel changes while it reads, past the cache of writable memory.
template <class T> inline T fixed(const T* place) { return __ldg(place); }
template <class T> inline void add(T* place, T value) { atomicAdd(place, value); }

// Raises a byte to `code`; the word around it is swapped, as CUDA has no atomics on bytes. A byte seldom has to rise.
inline void raise(unsigned char* place, unsigned char code) {
  if (*(volatile unsigned char*)place >= code) return;
  const unsigned shift = 8 * (unsigned)((unsigned long long)place & 3);
  unsigned* word = (unsigned*)((unsigned long long)place & ~3ull);
  for (unsigned seen = *(volatile unsigned*)word; ((seen >> shift) & 255u) < code;) {
    const unsigned before = seen;
    seen = atomicCAS(word, before, (before & ~(255u << shift)) | ((unsigned)code << shift));
    if (seen == before) break;
  }
}

#else

constexpr int kLanes = 1;

#define PLENOXELS_RAY_MEMORY(Type, name) Type name

template <class T> inline T from_lane(T value, int) { return value; }
template <class T> inline T from_before(T value, int) { return value; }
template <class T> inline T from_across(T value, int) { return value; }
inline unsigned where(bool condition) { return condition; }
inline void meet() {}
inline int bit_count(unsigned bits) { return __builtin_popcount(bits); }
inline int lowest_bit(unsigned bits) { return __builtin_ctz(bits); }

template <class T> inline T fixed(const T* place) { return *place; }
template <class T> inline void add(T* place, T value) { *place += value; }
inline void raise(unsigned char* place, unsigned char code) {
  if (*place < code) *place = code;
}

#endif

}  // namespace plenoxels
