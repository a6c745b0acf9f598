// What the bindings of the layers share: sums over parts, parallel loops and checks.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <initializer_list>
#include <memory>
#include <vector>

#include "current_level.h"
#include "tensors.h"

namespace ddpmx::binding {

// Partial sums of `size` numbers for each of `count` parts, and their totals. The parts, and so the totals,
// do not depend on the number of threads.
template <class T>
class Parts {
 public:
  Parts(int64_t count, int64_t size) : count_(count), size_(size), partial_(new T[count * size]) {}
  T* data() const { return partial_.get(); }
  float total(int64_t index) const {
    return static_cast<float>(sum_of_parts(partial_.get() + index, count_, size_));
  }

 private:
  int64_t count_, size_;
  std::unique_ptr<T[]> partial_;
};

// Runs loop(op, first, last) over `count` items in parallel, at least `grain` items per thread.
template <class Op>
inline void run(const Op& op, void (*loop)(const Op&, int64_t, int64_t), int64_t count, int64_t grain) {
  torch::stable::parallel_for(0, count, grain, [&](int64_t first, int64_t last) { loop(op, first, last); });
}

inline int64_t parts_of_images(int64_t images) { return (images + kImagesPerPart - 1) / kImagesPerPart; }

inline void require_per_channel(const Tensor& t, const Tensor& x, int64_t count, const char* name) {
  require(t.scalar_type() == ScalarType::Float && t.is_contiguous() && t.numel() == x.size(1) * count &&
              same_device(t, x),
          name);
}

inline bool has_strides(const Tensor& t, std::initializer_list<int64_t> strides) {
  int64_t d = 0;
  for (const int64_t stride : strides) {
    if (t.size(d) != 1 && t.stride(d) != stride) return false;
    ++d;
  }
  return true;
}

// Requires [images, channels, height, width] in channels_last order, with the dtype and sizes of x, except
// for the number of channels.
inline void require_channels_last(const Tensor& t, const Tensor& x, const char* name) {
  const int64_t channels = t.dim() == 4 ? t.size(1) : 0, width = channels ? t.size(3) : 0,
                height = channels ? t.size(2) : 0;
  require(is_float(t) && t.scalar_type() == x.scalar_type() && channels > 0 && same_device(t, x), name);
  require(has_strides(t, {height * width * channels, 1, width * channels, channels}), name);
  require(t.size(0) == x.size(0) && t.size(2) == x.size(2) && t.size(3) == x.size(3), name);
}

// Of a tensor that fits require_channels_last.
inline Images images(const Tensor& t) {
  return {t.data_ptr(), t.size(1) * t.size(2) * t.size(3), t.scalar_type() == ScalarType::BFloat16};
}

// In bind_attention.cpp.
void linear_attention(const Tensor& x, const std::vector<Tensor>& weights, double epsilon, const Tensor& out,
                      const Tensor& statistics);
void linear_attention_gradient(const Tensor& x, const Tensor& gradient, const std::vector<Tensor>& weights,
                               const Tensor& statistics, const Tensor& grad_x,
                               const std::vector<Tensor>& of_weights);

}  // namespace ddpmx::binding
