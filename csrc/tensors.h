// Checks of tensors of torch's stable ABI, and their conversion to the kernels' plain data.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>

#include "batch.h"

namespace ddpmx::binding {

using torch::stable::Tensor;
using Maybe = std::optional<Tensor>;
using torch::headeronly::ScalarType;

// Anyone may call the operators, so they must never read or write outside of their tensors.
// ddpmx/ops/checks.py has the same checks, with full messages.
inline void require(bool fits, const char* name) { STD_TORCH_CHECK(fits, "ddpmx: ", name, " does not fit"); }

inline bool same_sizes(const Tensor& a, const Tensor& b) {
  const auto left = a.sizes(), right = b.sizes();
  return left.size() == right.size() && std::equal(left.begin(), left.end(), right.begin());
}

inline bool same_device(const Tensor& a, const Tensor& b) { return a.device() == b.device(); }

inline bool is_float(const Tensor& t) {
  return t.scalar_type() == ScalarType::Float || t.scalar_type() == ScalarType::BFloat16;
}

inline void require_batch(const Tensor& x, const char* name) {
  constexpr int64_t max_elements = int64_t{1} << 34;  // a sample's counters have 32 bits
  require(is_float(x) && x.dim() > 0 && (x.numel() <= max_elements || x.numel() / x.size(0) <= max_elements),
          name);
}

inline void require_like(const Tensor& t, const Tensor& x, const char* name) {
  require(is_float(t) && same_sizes(t, x) && same_device(t, x), name);
}

// Requires separate memory for each element.
inline void require_output(const Tensor& t, const Tensor& x, ScalarType type, const char* name) {
  require_like(t, x, name);
  require(t.scalar_type() == type, name);
  for (int64_t d = 0; d < t.dim(); ++d) require(t.stride(d) != 0 || t.size(d) <= 1, name);
}

inline void require_per_sample(const Tensor& t, const Tensor& x, ScalarType type, const char* name) {
  require(t.scalar_type() == type && t.dim() == 1 && t.size(0) == x.size(0) && same_device(t, x), name);
}

inline void require_noise(const Maybe& noise, const Tensor& x, const Tensor& ids, int64_t stream) {
  require_per_sample(ids, x, ScalarType::Long, "sample_ids");
  require(stream >= 0 && stream < int64_t{1} << 32, "stream");
  if (!noise) return;
  require_like(*noise, x, "noise");
  require(noise->scalar_type() == ScalarType::Float || noise->scalar_type() == x.scalar_type(), "noise");
}

inline PerSample per_sample(const Tensor& tensor) {
  return {static_cast<const float*>(tensor.data_ptr()), tensor.stride(0), 0};
}

inline View view(const Tensor& tensor) {
  View v;
  const bool narrow = tensor.scalar_type() == ScalarType::BFloat16;
  STD_TORCH_CHECK(
      make_view(v, tensor.data_ptr(), narrow, tensor.dim(), tensor.sizes().data(), tensor.strides().data()),
      "too many dimensions");
  return v;
}

inline View view(const Maybe& tensor) { return tensor ? view(*tensor) : View{}; }

inline Batch batch(const Tensor& tensor) {
  const int64_t samples = tensor.size(0);
  return {samples, samples ? tensor.numel() / samples : 0};
}

inline Noise noise(const Tensor& ids, int64_t stream, int64_t seed, const Maybe& given = std::nullopt) {
  Noise n;
  n.given = view(given);
  n.ids = static_cast<const int64_t*>(ids.data_ptr());
  n.id_stride = ids.stride(0);
  n.seed = static_cast<uint64_t>(seed);
  n.stream = static_cast<uint32_t>(stream);
  return n;
}

}  // namespace ddpmx::binding
