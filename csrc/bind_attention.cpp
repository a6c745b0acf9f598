// The operators of linear attention, for CPU tensors.
#include "layer_tensors.h"

namespace ddpmx::binding {
namespace {

// The weights in the order of the operators' arguments.
enum Weight { kGammaIn, kBetaIn, kQ, kK, kMix, kBias, kGammaOut, kBetaOut, kWeights };

bool has_sizes(const Tensor& t, std::initializer_list<int64_t> sizes) {
  const auto all = t.sizes();
  return all.size() == sizes.size() && std::equal(sizes.begin(), sizes.end(), all.begin());
}

void require_weights(const std::vector<Tensor>& weights, const Tensor& x, const char* name) {
  require(weights.size() == kWeights, name);
  for (const Tensor& weight : weights)
    require(weight.scalar_type() == ScalarType::Float && weight.is_contiguous() && same_device(weight, x),
            name);
  const Tensor &q = weights[kQ], &mix = weights[kMix];
  const int64_t channels = x.size(1), features = q.dim() == 2 ? q.size(0) : 0,
                heads = mix.dim() == 3 ? mix.size(0) : 0;
  require(heads > 0 && features > 0 && features % heads == 0, name);
  require(has_sizes(q, {features, channels}) && has_sizes(weights[kK], {features, channels}) &&
              has_sizes(mix, {heads, channels, channels}),
          name);
  for (const Weight weight : {kGammaIn, kBetaIn, kBias, kGammaOut, kBetaOut})
    require(has_sizes(weights[weight], {channels}), name);
}

LinearAttention attention(const Tensor& x, const std::vector<Tensor>& weights, const Tensor& statistics) {
  require(x.dim() == 4, "x");
  require_channels_last(x, x, "x");
  require_weights(weights, x, "weights");
  require(statistics.scalar_type() == ScalarType::Float && statistics.is_contiguous(), "statistics");
  require(statistics.numel() == 4 * x.size(0) && same_device(statistics, x), "statistics");
  const auto data = [&](Weight weight) { return static_cast<const float*>(weights[weight].data_ptr()); };
  LinearAttention op;
  op.images = x.size(0);
  op.channels = x.size(1);
  op.positions = x.size(2) * x.size(3);
  require(op.positions > 0, "x");
  op.heads = weights[kMix].size(0);
  op.features = weights[kQ].size(0);
  op.x = images(x);
  op.gamma_in = data(kGammaIn);
  op.beta_in = data(kBetaIn);
  op.q = data(kQ);
  op.k = data(kK);
  op.mix = data(kMix);
  op.bias = data(kBias);
  op.gamma_out = data(kGammaOut);
  op.beta_out = data(kBetaOut);
  static_assert(sizeof(Moments) == 2 * sizeof(float), "the statistics are read as moments");
  op.moments = reinterpret_cast<Moments*>(statistics.data_ptr());
  return op;
}

}  // namespace

void linear_attention(const Tensor& x, const std::vector<Tensor>& weights, double epsilon, const Tensor& out,
                      const Tensor& statistics) {
  LinearAttention op = attention(x, weights, statistics);
  require_channels_last(out, x, "out");
  require(out.size(1) == x.size(1), "out");
  op.epsilon = epsilon;
  op.out = images(out);
  run(op, current_level().linear_attention, op.images, 1);
}

void linear_attention_gradient(const Tensor& x, const Tensor& gradient, const std::vector<Tensor>& weights,
                               const Tensor& statistics, const Tensor& grad_x,
                               const std::vector<Tensor>& of_weights) {
  LinearAttentionGradient op;
  op.attention = attention(x, weights, statistics);
  require_channels_last(gradient, x, "gradient");
  require_channels_last(grad_x, x, "of_x");
  require(gradient.size(1) == x.size(1) && grad_x.size(1) == x.size(1), "of_x");
  require_weights(of_weights, x, "of_weights");
  for (int i = 0; i < kWeights; ++i) require(same_sizes(of_weights[i], weights[i]), "of_weights");
  op.gradient = images(gradient);
  op.grad_x = images(grad_x);
  const int64_t channels = op.attention.channels, row = padded(channels),
                count = parts_of_images(op.attention.images);
  const Parts<float> parts(count, op.part_size());
  const Parts<double> norms(count, 4 * channels);
  op.partial = parts.data();
  op.norms = norms.data();
  run(op, current_level().linear_attention_gradient, count, 1);
  int64_t first = 0;  // row of the partial sums
  for (const Weight weight : {kQ, kK, kMix, kBias}) {
    auto* to = static_cast<float*>(of_weights[weight].data_ptr());
    const int64_t rows = of_weights[weight].numel() / channels;
    torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t c = 0; c < channels; ++c) to[r * channels + c] = parts.total((first + r) * row + c);
    });
    first += rows;
  }
  int64_t offset = 0;
  for (const Weight weight : {kGammaIn, kBetaIn, kGammaOut, kBetaOut}) {
    auto* to = static_cast<float*>(of_weights[weight].data_ptr());
    for (int64_t c = 0; c < channels; ++c) to[c] = norms.total(offset + c);
    offset += channels;
  }
}

}  // namespace ddpmx::binding
