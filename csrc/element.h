// Every formula of the hot math, for one element. The CPU loops and the CUDA kernels both call these
// functions. ddpmx/ops/reference.py defines the same formulas. Each operation must be rounded by itself:
// compile without contraction to fused multiply-adds.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "constants.h"

#ifdef __CUDACC__
#define DDPMX_INLINE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define DDPMX_INLINE inline __attribute__((always_inline))
#else
#define DDPMX_INLINE inline
#endif

// Unrolls the loop below completely.
#if defined(__CUDA_ARCH__) || (defined(__clang__) && !defined(__CUDACC__))
#define DDPMX_UNROLL _Pragma("unroll")
#elif defined(__GNUC__) && !defined(__CUDACC__)
#define DDPMX_UNROLL _Pragma("GCC unroll 16")
#else
#define DDPMX_UNROLL
#endif

namespace ddpmx {

constexpr int kLanes = 32;          // counters per block
constexpr int kBlock = 4 * kLanes;  // elements per block: four words per counter

enum class Norm : int32_t { l1, l2, huber };

DDPMX_INLINE int32_t bits_of(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

DDPMX_INLINE float float_of(int32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// One 32-bit word in a 64-bit lane, whose upper half is unused.
struct Lane {
  using Words = uint64_t;
  static DDPMX_INLINE Words multiply(Words a, uint32_t b) { return (a & 0xFFFFFFFFu) * b; }
};

#include "philox.h"

template <int n>
DDPMX_INLINE float horner(const float (&c)[n], float x) {
  float p = c[n - 1];
  for (int i = n - 2; i >= 0; --i) p = p * x + c[i];
  return p;
}

// u = ((w >> 1) + 1/2)/2^31 as 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2). Above sqrt(1/2), u no longer
// has all digits of 1 - u, so f comes from the complement of n.
DDPMX_INLINE void split(uint32_t w, float& k, float& f) {
  const int32_t sqrt_half = 0x3F3504F3, mantissa = 0x7FFFFF;
  const int32_t n = static_cast<int32_t>(w >> 1);
  const bool near = n > 1518500249;  // floor(sqrt(1/2) 2^31)
  const float g = (static_cast<float>(near ? n ^ 0x7FFFFFFF : n) + 0.5f) * 0x1p-31f;
  const int32_t d = bits_of(g) - sqrt_half;
  k = static_cast<float>(near ? 0 : d >> 23);
  f = near ? -g : float_of((d & mantissa) + sqrt_half) - 1.0f;
}

// -2 log u
DDPMX_INLINE float squared_radius(float k, float f) {
  constexpr float log_coefficients[] = DDPMX_LOG;
  return (k * DDPMX_LN2 + horner(log_coefficients, f) * f) * -2.0f;
}

// Two independent normal numbers (Box and Muller 1958). The angle is pi/2 (q + a): q is the top two bits of
// v, the other bits give |a| <= 1/2.
DDPMX_INLINE void on_circle(float squared_radius, uint32_t v, float& cosine, float& sine) {
  constexpr float sine_coefficients[] = DDPMX_SIN, cosine_coefficients[] = DDPMX_COS;
  const float a = (static_cast<float>(static_cast<int32_t>(v & 0x3FFFFFFFu) - 0x20000000) + 0.5f) * 0x1p-30f;
  const float square = a * a;
  const float s = horner(sine_coefficients, square) * a, c = horner(cosine_coefficients, square);
  const bool odd = static_cast<int32_t>(v << 1) < 0;
  const int32_t cosine_sign = static_cast<int32_t>((v + 0x40000000u) & 0x80000000u);
  const int32_t sine_sign = static_cast<int32_t>(v & 0x80000000u);
  const float r = sqrtf(squared_radius);
  cosine = float_of(bits_of(odd ? s : c) ^ cosine_sign) * r;
  sine = float_of(bits_of(odd ? c : s) ^ sine_sign) * r;
}

// a·x + b·y: x_t of add_noise from (signal, x_start, sigma, noise), and the target of weighted_loss.
DDPMX_INLINE float mix(float a, float x, float b, float y) { return a * x + b * y; }

// The residual r of the loss: output − (target_x·x_start + target_eps·noise).
DDPMX_INLINE float residual(float output, float target_x, float x_start, float target_eps, float noise) {
  return output - mix(target_x, x_start, target_eps, noise);
}

// The factor of norm'(r) in the gradient of the loss: the sample's weight over its number of elements.
DDPMX_INLINE float gradient_scale(float weight, int64_t elements) {
  return static_cast<float>(weight / static_cast<double>(elements));
}

// coefficient[0]·term[0] + coefficient[1]·term[1] + …, added from left to right: a sum of a reverse step.
DDPMX_INLINE float first_term(float coefficient, float term) { return coefficient * term; }
DDPMX_INLINE float add_term(float sum, float coefficient, float term) { return sum + coefficient * term; }

// norm(r), and below its derivative norm'(r).
template <Norm norm>
DDPMX_INLINE float error_of(float r, float delta) {
  const float size = fabsf(r);
  if (norm == Norm::l1) return size;
  if (norm == Norm::l2) return r * r;
  return size <= delta ? 0.5f * r * r : delta * (size - 0.5f * delta);
}

template <Norm norm>
DDPMX_INLINE float slope_of(float r, float delta) {
  const float sign = r > 0.0f ? 1.0f : r < 0.0f ? -1.0f : r;  // 0 at 0; NaN stays NaN
  if (norm == Norm::l1) return sign;
  if (norm == Norm::l2) return 2.0f * r;
  return fabsf(r) > delta ? sign * delta : r;
}

// x bounded to [-limit, limit]; NaN stays NaN.
DDPMX_INLINE float clamp(float x, float limit) {
  x = x < -limit ? -limit : x;
  return x > limit ? limit : x;
}

DDPMX_INLINE float from_bfloat16(uint16_t value) {
  return float_of(static_cast<int32_t>(static_cast<uint32_t>(value) << 16));
}

// Rounds to nearest, ties to even. NaN becomes torch's quiet NaN.
DDPMX_INLINE uint16_t to_bfloat16(float value) {
  const uint32_t bits = static_cast<uint32_t>(bits_of(value));
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
}

}  // namespace ddpmx
