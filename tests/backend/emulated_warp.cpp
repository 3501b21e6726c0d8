// 32 lanes on a CPU, so that CUDA's kernels run here as they are: each lane is a fiber, which goes on when all lanes have come to
// the same shuffle or vote. Python puts the kernels' headers at KERNELS.
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <memory>

namespace plenoxels {

constexpr int kLanes = 32;

struct EmulatedWarp {
  static constexpr int kStack = 256 * 1024;
  ucontext_t beginnings[kLanes];
  jmp_buf lanes[kLanes], scheduler;
  std::unique_ptr<char[]> stacks{new char[kLanes * kStack]};
  unsigned long long slots[2][kLanes];  // of this meeting and the one before, which lanes may still be reading
  int meetings[kLanes];
  int at[kLanes];  // the line of source where a lane waits; 0: it is done
  int running;
  void (*work)(const void*, int);
  const void* arguments;

  // False where lanes did not all come to the same meetings: a GPU would hang or compute nonsense.
  bool run(void (*lane_work)(const void*, int), const void* given) {
    work = lane_work;
    arguments = given;
    for (int lane = 0; lane < kLanes; lane++) {
      meetings[lane] = 0;
      getcontext(&beginnings[lane]);
      beginnings[lane].uc_stack.ss_sp = stacks.get() + lane * kStack;
      beginnings[lane].uc_stack.ss_size = kStack;
      makecontext(&beginnings[lane], begin, 0);
    }
    for (bool first = true;; first = false) {
      for (int next = 0; next < kLanes; next++) {
        running = (7 * next + 3) % kLanes;  // in no order that lanes could rely on
        at[running] = 0;
        if (_setjmp(scheduler)) continue;
        if (first) setcontext(&beginnings[running]);
        _longjmp(lanes[running], 1);
      }
      for (int lane = 1; lane < kLanes; lane++)
        if (at[lane] != at[0] || meetings[lane] != meetings[0]) return false;
      if (at[0] == 0) return true;
    }
  }

  static void begin();

  template <class T, class Source> T exchange(int line, T value, Source source) {
    const int lane = running, turn = meetings[lane]++ & 1;
    memcpy(&slots[turn][lane], &value, sizeof(T));
    at[lane] = line;
    if (!_setjmp(lanes[lane])) _longjmp(scheduler, 1);
    memcpy(&value, &slots[turn][source(lane)], sizeof(T));
    return value;
  }
};

static EmulatedWarp warp;

void EmulatedWarp::begin() {
  warp.work(warp.arguments, warp.running);
  _longjmp(warp.scheduler, 1);
}

#define PLENOXELS_RAY_MEMORY(Type, name) \
  static Type name##_of_ray;             \
  Type& name = name##_of_ray

template <class T> inline T from_lane(T value, int lane, int line = __builtin_LINE()) {
  return warp.exchange(line, value, [=](int) { return lane; });
}
template <class T> inline T from_before(T value, int distance, int line = __builtin_LINE()) {
  return warp.exchange(line, value, [=](int lane) { return lane < distance ? lane : lane - distance; });
}
template <class T> inline T from_across(T value, int bits, int line = __builtin_LINE()) {
  return warp.exchange(line, value, [=](int lane) { return lane ^ bits; });
}
inline unsigned where(bool condition, int line = __builtin_LINE()) {
  unsigned bits = 0;
  const unsigned own = condition ? 1u : 0u;
  const int turn = warp.meetings[warp.running] & 1;
  warp.exchange(line, own, [](int lane) { return lane; });
  for (int lane = 0; lane < kLanes; lane++) bits |= (unsigned)(warp.slots[turn][lane] & 1) << lane;
  return bits;
}
inline void meet(int line = __builtin_LINE()) {
  warp.exchange(line, 0, [](int lane) { return lane; });
}
inline int bit_count(unsigned bits) { return __builtin_popcount(bits); }
inline int lowest_bit(unsigned bits) { return __builtin_ctz(bits); }

template <class T> inline T fixed(const T* place) { return *place; }
template <class T> inline void add(T* place, T value) { *place += value; }
inline void raise(unsigned char* place, unsigned char code) {
  if (*place < code) *place = code;
}

}  // namespace plenoxels

KERNELS

using namespace plenoxels;

struct Launch {
  const void* const* arguments;
  int item;
  template <class T> const T& get(int index) const { return *(const T*)arguments[index]; }
};

template <int Degree, bool Backward> static void render_lane(const void* given, int lane) {
  const Launch& launch = *(const Launch*)given;
  render_ray<Degree, Backward>(launch.get<Field>(0), launch.get<Rays>(1), launch.get<Settings>(2), launch.get<Gradients>(3),
                               launch.item, lane);
}

template <int Degree> static void rmsprop_lane(const void* given, int lane) {
  const Launch& launch = *(const Launch*)given;
  rmsprop<Degree>(launch.get<Field>(0), launch.get<RmsProp>(1), launch.item, lane);
}

template <int Degree> static bool run(const char* kernel, const void* const* arguments, int items, int columns) {
  const bool render = !strcmp(kernel, "render"), gradients = !strcmp(kernel, "render_with_gradients");
  for (int item = 0; item < items; item++) {
    const Launch launch = {arguments, item};
    if (render || gradients || !strcmp(kernel, "rmsprop")) {
      const auto work = render ? render_lane<Degree, false> : gradients ? render_lane<Degree, true> : rmsprop_lane<Degree>;
      if (columns != kLanes || !warp.run(work, &launch)) return false;
      continue;
    }
    for (int column = 0; column < columns; column++)
      if (!strcmp(kernel, "resample"))
        resample<Degree>(launch.get<Field>(0), launch.get<Resample>(1), item, column);
      else
        total_variation<Degree>(launch.get<Field>(0), launch.get<Gradients>(1), launch.get<TotalVariation>(2), launch.get<int>(3),
                                item, column);
  }
  return true;
}

extern "C" int run_kernel(int degree, const char* kernel, const void* const* arguments, int items, int columns) {
  switch (degree) {
    case 0: return run<0>(kernel, arguments, items, columns);
    case 1: return run<1>(kernel, arguments, items, columns);
    case 2: return run<2>(kernel, arguments, items, columns);
    default: return run<3>(kernel, arguments, items, columns);
  }
}
