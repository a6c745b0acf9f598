// The operators of torch.ops.ddpmx that make or use noise, for any device. They check their arguments and
// pass them to `Device`, whose functions take a tensor on the device and the operation. ddpmx/ops/native.py
// calls the operators.
#pragma once

#include <vector>

#include "noise_ops.h"
#include "tensors.h"

namespace ddpmx::binding {

template <class Device>
struct NoiseOperators {
  static void normal(const Tensor& ids, int64_t stream, int64_t seed, const Tensor& out) {
    require_batch(out, "out");
    require(out.scalar_type() == ScalarType::Float && out.is_contiguous(), "out");
    require_noise(std::nullopt, out, ids, stream);
    Normal op{batch(out), static_cast<float*>(out.data_ptr()), noise(ids, stream, seed)};
    Device::normal(out, op);
  }

  static void bits(const Tensor& ids, int64_t stream, int64_t seed, const Tensor& out) {
    require_per_sample(out, ids, ScalarType::Long, "out");
    require(out.is_contiguous(), "out");
    require_noise(std::nullopt, out, ids, stream);
    Bits op{{out.numel(), 1}, static_cast<int64_t*>(out.data_ptr()), noise(ids, stream, seed)};
    Device::bits(out, op);
  }

  static void add_noise(const Tensor& x_start, const Tensor& signal, const Tensor& sigma, const Tensor& ids,
                        int64_t stream, int64_t seed, const Maybe& given, const Tensor& out) {
    require_batch(x_start, "x_start");
    require_per_sample(signal, x_start, ScalarType::Float, "signal");
    require_per_sample(sigma, x_start, ScalarType::Float, "sigma");
    require_noise(given, x_start, ids, stream);
    require_output(out, x_start, x_start.scalar_type(), "out");
    AddNoise op{batch(out),         view(x_start),     view(out),
                per_sample(signal), per_sample(sigma), noise(ids, stream, seed, given)};
    Device::add_noise(out, op);
  }

  static void weighted_loss(const Tensor& output, const Tensor& x_start, const Tensor& target_x,
                            const Tensor& target_eps, const Tensor& weight, const Tensor& ids, int64_t stream,
                            int64_t seed, const Maybe& given, int64_t norm, double delta, const Tensor& loss,
                            const Maybe& gradient) {
    require_batch(output, "output");
    require(output.size(0) == 0 || output.numel() > 0, "output");
    require_like(x_start, output, "x_start");
    require_per_sample(target_x, output, ScalarType::Float, "target_x");
    require_per_sample(target_eps, output, ScalarType::Float, "target_eps");
    require_per_sample(weight, output, ScalarType::Float, "weight");
    require_noise(given, x_start, ids, stream);
    require(norm >= 0 && norm <= static_cast<int64_t>(Norm::huber), "norm");
    require_per_sample(loss, output, ScalarType::Float, "loss");
    require(loss.is_contiguous(), "loss");
    if (gradient) require_output(*gradient, output, ScalarType::Float, "gradient");
    WeightedLoss op{batch(output),
                    view(output),
                    view(x_start),
                    view(gradient),
                    per_sample(target_x),
                    per_sample(target_eps),
                    per_sample(weight),
                    noise(ids, stream, seed, given),
                    static_cast<Norm>(norm),
                    static_cast<float>(delta),
                    static_cast<float*>(loss.data_ptr()),
                    nullptr};
    Device::weighted_loss(output, op);
  }

  // `row` has the order of ReverseStep::set_row. `clip_all` bounds all samples if `clip` is missing; infinity
  // is no bound.
  static void reverse_step(const Tensor& x, const Tensor& output, const std::vector<double>& row,
                           const std::vector<Tensor>& history, const Maybe& anchor, const Maybe& clip,
                           double clip_all, const Tensor& ids, int64_t stream, int64_t seed,
                           const Maybe& given, const Tensor& out, const Maybe& m_out) {
    require_batch(x, "x");
    require_like(output, x, "output");
    require(row.size() >= 8 && row.size() <= 8 + kMaxHistory, "row");
    if (clip) require_per_sample(*clip, x, ScalarType::Float, "clip");
    require_noise(given, x, ids, stream);
    require_output(out, x, x.scalar_type(), "out");
    if (m_out) require_output(*m_out, x, x.scalar_type(), "m");
    ReverseStep op;
    op.set_row(row.data(), static_cast<int>(row.size()));
    const auto source = [&](int from, const Tensor& tensor, const char* name) {
      if (!op.uses(from)) return;
      require_like(tensor, x, name);
      require(from == kOutput || tensor.scalar_type() == x.scalar_type(), name);
      op.source[from] = view(tensor);
    };
    require(anchor || !op.uses(kAnchor), "anchor");
    op.batch = batch(x);
    source(kX, x, "x");
    source(kOutput, output, "output");
    if (anchor) source(kAnchor, *anchor, "anchor");
    const int past = static_cast<int>(history.size());
    for (int i = 0; i < kMaxHistory; ++i) require(i < past || !op.uses(kHistory + i), "history");
    for (int i = 0; i < kMaxHistory && i < past; ++i) source(kHistory + i, history[i], "history");
    op.out = view(out);
    op.m_out = view(m_out);
    op.clip = clip ? per_sample(*clip) : PerSample{nullptr, 0, static_cast<float>(clip_all)};
    op.noise = noise(ids, stream, seed, given);
    Device::reverse_step(x, op);
  }

  // Registers the operators in a STABLE_TORCH_LIBRARY_IMPL block of the device.
  template <class Library>
  static void implement(Library& library) {
#define DDPMX_IMPLEMENT(NAME, OPERATION, SCHEMA) library.impl(#NAME, TORCH_BOX(&NoiseOperators::NAME));
    DDPMX_NOISE_OPERATORS(DDPMX_IMPLEMENT)
#undef DDPMX_IMPLEMENT
  }
};

}  // namespace ddpmx::binding
