// The operations that make or use noise: plain data without torch, which the bindings pass to the kernels.
#pragma once

#include <initializer_list>

#include "batch.h"
#include "operators.h"

namespace ddpmx {

// out = signal·x + sigma·noise
struct AddNoise {
  Batch batch;
  View x, out;
  PerSample signal, sigma;
  Noise noise;
};

// loss = weight · mean of norm(output − (target_x·x_start + target_eps·noise)), and its gradient for output.
struct WeightedLoss {
  Batch batch;
  View output, x_start, gradient;  // gradient.data is null if it is not wanted
  PerSample target_x, target_eps, weight;
  Noise noise;
  Norm norm = Norm::l2;
  float delta = 1;
  float* loss = nullptr;      // [B]
  double* partial = nullptr;  // [B, parts(elements)]: the sum of norm(r) over each part
};

// The loss of a sample, from the sums of its parts.
DDPMX_INLINE float loss_of_sample(const WeightedLoss& op, int64_t sample) {
  const int64_t parts_per_sample = parts(op.batch.elements);
  const double total = sum_of_parts(op.partial + sample * parts_per_sample, parts_per_sample, 1);
  return static_cast<float>(op.weight.at(sample) * (total / static_cast<double>(op.batch.elements)));
}

// The tensor that a term of a reverse step multiplies.
enum Source : int { kX, kOutput, kX0, kAnchor, kHistory, kNoise = kHistory + kMaxHistory, kSources };

// coefficient[0]·source[0] + coefficient[1]·source[1] + …, added from left to right.
struct Sum {
  int terms = 0, source[kSources];
  float coefficient[kSources];

  void add(double c, int from) {  // a term with c = 0 is skipped, so its tensor may be missing
    if (c == 0) return;
    source[terms] = from;
    coefficient[terms++] = static_cast<float>(c);
  }
};

// The sums of ddpmx.Row: x0 (then clamped), x_next and m. A source that no sum uses may be missing.
struct ReverseStep {
  Batch batch;
  Sum x0, x_next, m;
  View source[kNoise];  // indexed by Source; kX0 is not set
  View out, m_out;      // m_out.data is null if m is not wanted
  PerSample clip;       // infinity: no clipping
  bool needs_noise = false;
  Noise noise;

  // `row`: x0_from_x, x0_from_output, c_x, c_x0, c_anchor, c_noise, m_x, m_x0, then c_history.
  void set_row(const double* row, int count) {
    x0.add(row[0], kX);
    x0.add(row[1], kOutput);
    x_next.add(row[2], kX);
    x_next.add(row[3], kX0);
    x_next.add(row[4], kAnchor);
    for (int i = 8; i < count; ++i) x_next.add(row[i], kHistory + i - 8);
    x_next.add(row[5], kNoise);
    needs_noise = row[5] != 0;
    m.add(row[6], kX);
    m.add(row[7], kX0);
  }

  bool uses(int from) const {
    for (const Sum* sum : {&x0, &x_next, &m})
      for (int k = 0; k < sum->terms; ++k)
        if (sum->source[k] == from) return true;
    return false;
  }
};

// Normal numbers.
struct Normal {
  Batch batch;
  float* out = nullptr;  // [B, elements], contiguous
  Noise noise;
};

// 63 random bits for each sample.
struct Bits {
  Batch batch;             // with one element per sample
  int64_t* out = nullptr;  // [B], contiguous
  Noise noise;
};

DDPMX_INLINE int64_t bits_of_sample(const Noise& noise, uint64_t id) {
  return static_cast<int64_t>(random_bits<Lane>(id, noise.stream, noise.seed));
}

namespace cuda {
// These launch on `stream` (a cudaStream_t) and return a cudaError_t, 0 for success.
#define DDPMX_LAUNCH(NAME, OPERATION, SCHEMA) int NAME(const OPERATION&, void* stream);
DDPMX_NOISE_OPERATORS(DDPMX_LAUNCH)
#undef DDPMX_LAUNCH
}  // namespace cuda

}  // namespace ddpmx
