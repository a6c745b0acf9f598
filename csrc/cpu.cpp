// The CPU loops, compiled once for each level of vector instructions. The level is chosen at run time.
#include <cstddef>

#include "levels.h"
#include "scratch.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DDPMX_X86 1
#include <immintrin.h>
#endif

// Lets the compiler vectorise the loop below: its iterations are independent, though its pointers may be
// equal.
#if defined(__clang__)
#define DDPMX_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define DDPMX_INDEPENDENT _Pragma("GCC ivdep")
#else
#define DDPMX_INDEPENDENT
#endif

// Inlining into the callers would make the compiler run out of registers.
#ifdef __GNUC__
#define DDPMX_NOINLINE __attribute__((noinline))
#else
#define DDPMX_NOINLINE
#endif

namespace ddpmx {

namespace scalar {
struct Lanes : Lane {
  static constexpr int count = 1, interleaved = 2;
  static Words even() { return 0; }
};
#ifdef __GNUC__
typedef float Floats __attribute__((vector_size(16)));
#else
using Floats = float;
#endif
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
#include "level.h"
bool runs_here() { return true; }
}  // namespace scalar

#ifdef DDPMX_X86
// `pmuludq` multiplies the lower halves of all lanes. The compiler generates the rest of a vector's
// arithmetic.
#define DDPMX_LANES(BITS, COUNT, MULTIPLY, BROADCAST, TYPE)                            \
  struct Lanes {                                                                       \
    typedef uint64_t Words __attribute__((vector_size(BITS / 8)));                     \
    static constexpr int count = COUNT, interleaved = COUNT == 4 ? 8 : 4;              \
    static inline __attribute__((always_inline)) Words multiply(Words a, uint32_t b) { \
      return (Words)MULTIPLY((TYPE)a, BROADCAST(static_cast<long long>(b)));           \
    }                                                                                  \
    static inline __attribute__((always_inline)) Words even() {                        \
      Words lanes;                                                                     \
      for (int i = 0; i < COUNT; ++i) lanes[i] = 2 * i;                                \
      return lanes;                                                                    \
    }                                                                                  \
  };                                                                                   \
  typedef float Floats __attribute__((vector_size(BITS / 8)));

namespace sse2 {
DDPMX_LANES(128, 2, _mm_mul_epu32, _mm_set1_epi64x, __m128i)
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
#include "level.h"
bool runs_here() { return true; }
}  // namespace sse2

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
DDPMX_LANES(256, 4, _mm256_mul_epu32, _mm256_set1_epi64x, __m256i)
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
#include "level.h"
}  // namespace avx2
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,prefer-vector-width=512")
#endif
namespace avx512 {
DDPMX_LANES(512, 8, _mm512_mul_epu32, _mm512_set1_epi64, __m512i)
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
#define DDPMX_PAIRS
#include "level.h"
}  // namespace avx512
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace avx2 {
bool runs_here() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
}  // namespace avx2
namespace avx512 {
bool runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
bool runs_pairs_here() { return runs_here() && __builtin_cpu_supports("avx512bf16"); }
}  // namespace avx512
#endif

namespace cpu {

const Level* levels(int& count) {
  static const Level all[] = {
      {scalar::loops, "scalar", scalar::runs_here},
#ifdef DDPMX_X86
      {sse2::loops, "sse2", sse2::runs_here},
      {avx2::loops, "avx2", avx2::runs_here},
      {avx512::loops, "avx512", avx512::runs_here},
      {avx512::loops_with_pairs, "avx512_bf16", avx512::runs_pairs_here},
#endif
  };
  count = sizeof all / sizeof all[0];
  return all;
}

}  // namespace cpu
}  // namespace ddpmx
