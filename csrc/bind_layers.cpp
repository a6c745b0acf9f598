// The operators on images and network layers, for CPU tensors.
#include "layer_tensors.h"
#include "scratch.h"

namespace ddpmx::binding {
namespace {

void fetch(const Tensor& pixels, const Tensor& ids, int64_t stream, int64_t seed, bool flip,
           const Tensor& out) {
  require(pixels.scalar_type() == ScalarType::Byte && pixels.dim() == 4 && pixels.is_contiguous(), "pixels");
  require(ids.dim() == 1 && ids.scalar_type() == ScalarType::Long && same_device(ids, pixels), "ids");
  require(out.scalar_type() == ScalarType::Float && out.is_contiguous() && out.dim() == 4 &&
              same_device(out, pixels),
          "out");
  require(out.size(0) == ids.size(0) && out.size(1) == pixels.size(1) && out.size(2) == pixels.size(2),
          "out");
  require(out.size(3) == pixels.size(3), "out");
  Fetch op;
  op.images = ids.size(0);
  op.rows = pixels.size(1) * pixels.size(2);
  op.width = pixels.size(3);
  op.pixels = static_cast<const uint8_t*>(pixels.data_ptr());
  op.noise = noise(ids, stream, seed);
  op.flip = flip;
  op.out = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < op.images; ++i) {
    const int64_t id = op.noise.ids[i * op.noise.id_stride];
    STD_TORCH_CHECK(id >= 0 && id < pixels.size(0), "ddpmx: ids should be from 0 to ", pixels.size(0) - 1,
                    ", not ", id);
  }
  run(op, current_level().fetch, op.images, 64);
}

Pixels pixels(const Tensor& tensor) {
  Pixels p{tensor.data_ptr(), {}, tensor.scalar_type() == ScalarType::BFloat16};
  for (int64_t d = 0; d < 4; ++d) p.stride[d] = tensor.stride(d);
  return p;
}

void depthwise_gradient(const Tensor& x, const Tensor& gradient, const Tensor& grad_weight,
                        const Tensor& grad_bias) {
  require(is_float(x) && x.dim() == 4, "x");
  require_like(gradient, x, "gradient");
  require_per_channel(grad_weight, x, kTaps, "of_weight");
  require_per_channel(grad_bias, x, 1, "of_bias");
  DepthwiseGradient op;
  op.images = x.size(0);
  op.channels = x.size(1);
  op.height = x.size(2);
  op.width = x.size(3);
  op.x = pixels(x);
  op.gradient = pixels(gradient);
  const int64_t count = parts_of_images(op.images);
  const Parts<float> parts(count, op.channels * (kTaps + 1));
  op.partial = parts.data();
  run(op, current_level().depthwise_gradient, count, 1);
  auto *weight = static_cast<float*>(grad_weight.data_ptr()),
       *bias = static_cast<float*>(grad_bias.data_ptr());
  for (int64_t c = 0; c < op.channels; ++c) {
    for (int64_t tap = 0; tap < kTaps; ++tap) weight[c * kTaps + tap] = parts.total(c * (kTaps + 1) + tap);
    bias[c] = parts.total(c * (kTaps + 1) + kTaps);
  }
}

Convolution convolution(const Tensor& x, int64_t outputs) {
  require(x.size(1) >= kWidest && outputs >= kWidest,
          "channels");  // a vector that starts in one pixel must end in the next
  Convolution op;
  op.images = x.size(0);
  op.inputs = x.size(1);
  op.height = x.size(2);
  op.width = x.size(3);
  op.outputs = outputs;
  op.x = images(x);
  return op;
}

// `transposed`: computes the gradient of a convolution's x from the gradient of its results.
void convolve(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, bool transposed,
              const Tensor& out) {
  require(x.dim() == 4, "x");
  require_channels_last(x, x, "x");
  require_channels_last(out, x, "out");
  const int64_t input_dim = transposed ? 0 : 1, output_dim = transposed ? 1 : 0;
  require(weight.scalar_type() == ScalarType::Float && same_device(weight, x) && weight.dim() == 4, "weight");
  require(weight.size(input_dim) == x.size(1) && weight.size(output_dim) == out.size(1) &&
              weight.size(2) == 3 && weight.size(3) == 3,
          "weight");
  if (bias) require_per_channel(*bias, out, 1, "bias");
  Convolution op = convolution(x, out.size(1));
  if (op.tiles() == 0) return;
  op.weight = static_cast<const float*>(weight.data_ptr());
  op.weight_input = weight.stride(input_dim);
  op.weight_output = weight.stride(output_dim);
  op.weight_y = weight.stride(2);
  op.weight_x = weight.stride(3);
  if (transposed) {
    op.weight += 2 * (op.weight_y + op.weight_x);
    op.weight_y *= -1;
    op.weight_x *= -1;
  }
  if (bias) op.bias = static_cast<const float*>(bias->data_ptr());
  op.out = images(out);
  const Scratch points(kPoints * op.inputs * padded(op.outputs));
  op.points = points.values;
  run(op, current_level().weight_points, op.inputs, 16);
  run(op, current_level().convolve, (op.tiles() + kTilesPerChunk - 1) / kTilesPerChunk, 1);
}

void convolution_gradient(const Tensor& x, const Tensor& gradient, const Tensor& grad_weight,
                          const Tensor& grad_bias) {
  require(x.dim() == 4, "x");
  require_channels_last(x, x, "x");
  require_channels_last(gradient, x, "gradient");
  require_per_channel(grad_weight, gradient, 9 * x.size(1), "of_weight");
  require_per_channel(grad_bias, gradient, 1, "of_bias");
  ConvolutionGradient op;
  op.convolution = convolution(x, gradient.size(1));
  op.gradient = images(gradient);
  const int64_t count = op.convolution.tiles() ? op.parts() : 0, inputs = x.size(1),
                outputs = gradient.size(1), row = padded(outputs);
  const Parts<float> parts(count, op.part_size());
  op.partial = parts.data();
  run(op, current_level().convolution_gradient, count, 1);
  auto *weight = static_cast<float*>(grad_weight.data_ptr()),
       *bias = static_cast<float*>(grad_bias.data_ptr());
  torch::stable::parallel_for(0, outputs, 16, [&](int64_t first, int64_t last) {
    for (int64_t output = first; output < last; ++output) {
      for (int64_t tap = 0; tap < 9; ++tap)
        for (int64_t input = 0; input < inputs; ++input)
          weight[(output * inputs + input) * 9 + tap] = parts.total((tap * inputs + input) * row + output);
      bias[output] = parts.total(9 * inputs * row + output);
    }
  });
}

Normalisation normalisation(const Tensor& x, const Tensor& gamma, bool gelu, const Tensor& statistics) {
  require(x.dim() == 4, "x");
  require_channels_last(x, x, "x");
  require_per_channel(gamma, x, 1, "gamma");
  require(statistics.scalar_type() == ScalarType::Float && statistics.is_contiguous(), "statistics");
  require(statistics.numel() == 2 * x.size(0) && same_device(statistics, x), "statistics");
  Normalisation op;
  op.images = x.size(0);
  op.channels = x.size(1);
  op.gelu = gelu;
  op.x = images(x);
  op.gamma = static_cast<const float*>(gamma.data_ptr());
  op.mean = static_cast<float*>(statistics.data_ptr());
  op.scale = op.mean + op.images;
  return op;
}

void normalise(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon, bool gelu,
               const Tensor& out, const Tensor& statistics) {
  Normalisation op = normalisation(x, gamma, gelu, statistics);
  require_channels_last(out, x, "out");
  require_per_channel(beta, x, 1, "beta");
  require(out.size(1) == x.size(1), "out");
  op.beta = static_cast<const float*>(beta.data_ptr());
  op.epsilon = epsilon;
  op.out = images(out);
  run(op, current_level().normalise, op.images, 1);
}

void normalise_gradient(const Tensor& x, const Tensor& gradient, const Tensor& gamma, bool gelu,
                        const Tensor& statistics, const Tensor& grad_x, const Tensor& grad_gamma,
                        const Tensor& grad_beta) {
  NormalisationGradient op;
  op.normalisation = normalisation(x, gamma, gelu, statistics);
  require_channels_last(gradient, x, "gradient");
  require_channels_last(grad_x, x, "of_x");
  require(gradient.size(1) == x.size(1) && grad_x.size(1) == x.size(1), "of_x");
  require_per_channel(grad_gamma, x, 1, "of_gamma");
  require_per_channel(grad_beta, x, 1, "of_beta");
  op.gradient = images(gradient);
  op.grad_x = images(grad_x);
  const int64_t count = parts_of_images(op.normalisation.images), channels = op.normalisation.channels;
  const Parts<double> parts(count, 2 * channels);
  op.partial = parts.data();
  run(op, current_level().normalise_gradient, count, 1);
  auto *gamma_sums = static_cast<float*>(grad_gamma.data_ptr()),
       *beta_sums = static_cast<float*>(grad_beta.data_ptr());
  for (int64_t c = 0; c < channels; ++c) {
    gamma_sums[c] = parts.total(c);
    beta_sums[c] = parts.total(channels + c);
  }
}

// `weights` are gamma and beta.
GroupNormalisation group_normalisation(const Tensor& x, const std::vector<Tensor>& weights, bool silu,
                                       const Tensor& statistics) {
  require(x.dim() == 4, "x");
  require_channels_last(x, x, "x");
  require(weights.size() == 2, "weights");
  for (const Tensor& weight : weights) require_per_channel(weight, x, 1, "weights");
  require(statistics.scalar_type() == ScalarType::Float && statistics.is_contiguous(), "statistics");
  require(statistics.dim() == 3 && statistics.size(0) == x.size(0) && statistics.size(2) == 2 &&
              same_device(statistics, x),
          "statistics");
  GroupNormalisation op;
  op.images = x.size(0);
  op.channels = x.size(1);
  op.groups = statistics.size(1);
  require(op.groups > 0 && op.channels % op.groups == 0, "groups");
  op.silu = silu;
  op.x = images(x);
  op.gamma = static_cast<const float*>(weights[0].data_ptr());
  op.beta = static_cast<const float*>(weights[1].data_ptr());
  static_assert(sizeof(Moments) == 2 * sizeof(float), "the statistics are read as moments");
  op.moments = reinterpret_cast<Moments*>(statistics.data_ptr());
  return op;
}

void group_normalise(const Tensor& x, const std::vector<Tensor>& weights, double epsilon, bool silu,
                     const Tensor& out, const Tensor& statistics) {
  GroupNormalisation op = group_normalisation(x, weights, silu, statistics);
  require_channels_last(out, x, "out");
  require(out.size(1) == x.size(1), "out");
  op.epsilon = epsilon;
  op.out = images(out);
  run(op, current_level().group_normalise, op.images, 1);
}

void group_normalise_gradient(const Tensor& x, const Tensor& gradient, const std::vector<Tensor>& weights,
                              bool silu, const Tensor& statistics, const Tensor& grad_x,
                              const std::vector<Tensor>& of_weights) {
  GroupNormalisationGradient op;
  op.normalisation = group_normalisation(x, weights, silu, statistics);
  require_channels_last(gradient, x, "gradient");
  require_channels_last(grad_x, x, "of_x");
  require(gradient.size(1) == x.size(1) && grad_x.size(1) == x.size(1), "of_x");
  require(of_weights.size() == 2, "of_weights");
  for (const Tensor& weight : of_weights) require_per_channel(weight, x, 1, "of_weights");
  op.gradient = images(gradient);
  op.grad_x = images(grad_x);
  const int64_t count = op.normalisation.images, channels = op.normalisation.channels;
  const Parts<double> sums(count, 2 * channels);
  op.partial = sums.data();
  run(op, current_level().group_normalise_gradient, count, 1);
  for (int64_t i = 0; i < 2; ++i) {
    auto* to = static_cast<float*>(of_weights[i].data_ptr());
    for (int64_t c = 0; c < channels; ++c) to[c] = sums.total(i * channels + c);
  }
}

}  // namespace
}  // namespace ddpmx::binding

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CPU, m) {
#define DDPMX_IMPLEMENT(NAME, SCHEMA) m.impl(#NAME, TORCH_BOX(&ddpmx::binding::NAME));
  DDPMX_LAYER_OPERATORS(DDPMX_IMPLEMENT)
#undef DDPMX_IMPLEMENT
}
