// Plain data without torch: batches of samples in memory, per-sample numbers and the source of noise.
#pragma once

#include <cstdint>

#include "element.h"

namespace ddpmx {

// Of a sample, after merging. ddpmx/ops/native.py sends tensors with more to the reference.
constexpr int kMaxDims = 12;
constexpr int kMaxHistory = 8;  // the limit in ddpmx/ops/native.py

// A batch [B, ...] in memory. The elements of a sample are counted in logical (C) order, whatever its layout.
struct View {
  void* data = nullptr;
  int64_t batch_stride = 0;  // in elements, like the others
  int64_t size[kMaxDims], stride[kMaxDims];
  int dims = 0;         // 0: the elements of a sample are contiguous
  bool narrow = false;  // bfloat16, else float32
};

// Makes the view of a tensor [B, ...]. Drops dimensions of size 1 and merges neighbours that are contiguous.
// Returns false if more than kMaxDims remain.
inline bool make_view(View& view, void* data, bool narrow, int64_t dims, const int64_t* sizes,
                      const int64_t* strides) {
  view.data = data;
  view.narrow = narrow;
  view.batch_stride = strides[0];
  for (int64_t d = 1; d < dims; ++d) {
    if (sizes[d] == 1) continue;
    if (view.dims && view.stride[view.dims - 1] == sizes[d] * strides[d]) {
      view.size[view.dims - 1] *= sizes[d];
    } else if (view.dims == kMaxDims) {
      return false;
    } else {
      view.size[view.dims++] = sizes[d];
    }
    view.stride[view.dims - 1] = strides[d];
  }
  if (view.dims == 1 && view.stride[0] == 1) view.dims = 0;
  return true;
}

// A number for each sample. If `data` is null, all samples have the same `value`.
struct PerSample {
  const float* data = nullptr;
  int64_t stride = 0;
  float value = 0;
  DDPMX_INLINE float at(int64_t sample) const { return data ? data[sample * stride] : value; }
};

// The source of the noise: `given`, or else the generator, a function of (id, stream, seed).
struct Noise {
  View given;
  const int64_t* ids = nullptr;
  int64_t id_stride = 0;
  uint64_t seed = 0;
  uint32_t stream = 0;
};

// Whether the ids of the first `samples` samples are all 0 or more.
inline bool ids_are_valid(const Noise& noise, int64_t samples) {
  int64_t all = 0;
  for (int64_t i = 0; i < samples; ++i) all |= noise.ids[i * noise.id_stride];
  return all >= 0;  // one negative id sets the sign
}

struct Batch {
  int64_t samples = 0, elements = 0;  // elements of each sample
};

// Sums are taken over parts of this many elements first, so that they do not depend on the number of threads.
constexpr int64_t kPart = 16 * kBlock;
DDPMX_INLINE int64_t parts(int64_t elements) { return (elements + kPart - 1) / kPart; }
DDPMX_INLINE int64_t items(const Batch& batch) { return batch.samples * parts(batch.elements); }

// The total of one number over all parts: partial[0] + partial[step] + …
template <class T>
DDPMX_INLINE double sum_of_parts(const T* partial, int64_t parts, int64_t step) {
  double total = 0;
  for (int64_t part = 0; part < parts; ++part) total += partial[part * step];
  return total;
}

}  // namespace ddpmx
