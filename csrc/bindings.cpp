// The operators of torch.ops.ddpmx on torch's stable ABI. Compiled twice: for the CPU, with the schemas, and with
// DDPMX_CUDA for CUDA tensors. ddpmx/ops/native.py calls them, after the checks of ddpmx/ops.
#ifdef DDPMX_CUDA
#include <cuda_runtime.h>
#endif

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops.h"

#if defined(__clang__)
#define DDPMX_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define DDPMX_COMPILER "g++ " __VERSION__
#else
#define DDPMX_COMPILER "an unknown compiler"
#endif

namespace ddpmx::binding {
namespace {

using torch::stable::Tensor;
using Maybe = std::optional<Tensor>;
using torch::headeronly::ScalarType;

// The operators may be called by anyone: none reads or writes where it must not. ddpmx/ops/checks.py says the same in words.
void require(bool fits, const char* name) { STD_TORCH_CHECK(fits, "ddpmx: ", name, " does not fit"); }

bool same_sizes(const Tensor& a, const Tensor& b) {
  const auto left = a.sizes(), right = b.sizes();
  return left.size() == right.size() && std::equal(left.begin(), left.end(), right.begin());
}

bool same_device(const Tensor& a, const Tensor& b) { return a.device() == b.device(); }

bool is_float(const Tensor& t) { return t.scalar_type() == ScalarType::Float || t.scalar_type() == ScalarType::BFloat16; }

void require_batch(const Tensor& x, const char* name) {
  constexpr int64_t most = int64_t{1} << 34;  // a sample's counters have 32 bits
  require(is_float(x) && x.dim() > 0 && (x.numel() <= most || x.numel() / x.size(0) <= most), name);
}

void require_like(const Tensor& t, const Tensor& x, const char* name) {
  require(is_float(t) && same_sizes(t, x) && same_device(t, x), name);
}

// With a place of its own for each element.
void require_place(const Tensor& t, const Tensor& x, ScalarType type, const char* name) {
  require_like(t, x, name);
  require(t.scalar_type() == type, name);
  for (int64_t d = 0; d < t.dim(); ++d) require(t.stride(d) != 0 || t.size(d) <= 1, name);
}

void require_each(const Tensor& t, const Tensor& x, ScalarType type, const char* name) {
  require(t.scalar_type() == type && t.dim() == 1 && t.size(0) == x.size(0) && same_device(t, x), name);
}

void require_noise(const Maybe& noise, const Tensor& x, const Tensor& ids, int64_t stream) {
  require_each(ids, x, ScalarType::Long, "sample_ids");
  require(stream >= 0 && stream < int64_t{1} << 32, "stream");
  if (!noise) return;
  require_like(*noise, x, "noise");
  require(noise->scalar_type() == ScalarType::Float || noise->scalar_type() == x.scalar_type(), "noise");
}

PerSample per_sample(const Tensor& tensor) { return {static_cast<const float*>(tensor.data_ptr()), tensor.stride(0), 0}; }

View view(const Tensor& tensor) {
  View v;
  const bool narrow = tensor.scalar_type() == ScalarType::BFloat16;
  STD_TORCH_CHECK(make_view(v, tensor.data_ptr(), narrow, tensor.dim(), tensor.sizes().data(), tensor.strides().data()),
                  "too many dimensions");
  return v;
}

View view(const Maybe& tensor) { return tensor ? view(*tensor) : View{}; }

Batch batch(const Tensor& tensor) {
  const int64_t samples = tensor.size(0);
  return {samples, samples ? tensor.numel() / samples : 0};
}

Noise noise(const Tensor& ids, int64_t stream, int64_t seed, const Maybe& given = std::nullopt) {
  Noise n;
  n.given = view(given);
  n.ids = static_cast<const int64_t*>(ids.data_ptr());
  n.id_stride = ids.stride(0);
  n.seed = static_cast<uint64_t>(seed);
  n.stream = static_cast<uint32_t>(stream);
  return n;
}

#ifdef DDPMX_CUDA

// Queues a kernel on the current stream of the tensor's device.
template <class Op>
void run(const Tensor& tensor, const Op& op, int (*kernel)(const Op&, void*)) {
  const auto device = tensor.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  STD_CUDA_CHECK(static_cast<cudaError_t>(kernel(op, stream)));
}

void run_normal(const Tensor& t, const Normal& op) { run(t, op, cuda::normal); }
void run_bits(const Tensor& t, const Bits& op) { run(t, op, cuda::bits); }
void run_add_noise(const Tensor& t, const AddNoise& op) { run(t, op, cuda::add_noise); }
void run_reverse_step(const Tensor& t, const ReverseStep& op) { run(t, op, cuda::reverse_step); }

void run_weighted_loss(const Tensor& t, WeightedLoss& op) {
  const Tensor partial = torch::stable::new_empty(t, {items(op.batch)}, ScalarType::Double);
  op.partial = static_cast<double*>(partial.data_ptr());
  run(t, op, cuda::weighted_loss);
}

#else

const Level* level = nullptr;  // the fastest that runs here, or the one that set_cpu_level chose

const Level& chosen() {
  if (!level) {
    int count;
    const Level* levels = cpu::levels(count);
    for (int i = 0; i < count; ++i)
      if (levels[i].runs_here()) level = levels + i;
  }
  return *level;
}

constexpr int64_t kGrain = 16384;  // elements that are worth a thread

template <class Op>
void run(const Op& op, void (*loop)(const Op&, int64_t, int64_t)) {
  for (int64_t i = 0; i < op.batch.samples; ++i) STD_TORCH_CHECK(op.noise.ids[i * op.noise.id_stride] >= 0, "a sample id is negative");
  const int64_t count = items(op.batch), elements = op.batch.samples * op.batch.elements;
  if (elements <= kGrain) return loop(op, 0, count);
  const int64_t grain = kGrain * count / elements;
  torch::stable::parallel_for(0, count, grain > 1 ? grain : 1, [&](int64_t first, int64_t last) { loop(op, first, last); });
}

void run_normal(const Tensor&, const Normal& op) { run(op, chosen().normal); }
void run_bits(const Tensor&, const Bits& op) { STD_TORCH_CHECK(cpu::bits(op), "a sample id is negative"); }
void run_add_noise(const Tensor&, const AddNoise& op) { run(op, chosen().add_noise); }
void run_reverse_step(const Tensor&, const ReverseStep& op) { run(op, chosen().reverse_step); }

void run_weighted_loss(const Tensor&, WeightedLoss& op) {
  const std::unique_ptr<double[]> partial(new double[items(op.batch)]);
  op.partial = partial.get();
  run(op, chosen().weighted_loss);
  for (int64_t sample = 0; sample < op.batch.samples; ++sample) op.loss[sample] = loss_of_sample(op, sample);
}

#endif

void normal(const Tensor& ids, int64_t stream, int64_t seed, const Tensor& out) {
  require_batch(out, "out");
  require(out.scalar_type() == ScalarType::Float && out.is_contiguous(), "out");
  require_noise(std::nullopt, out, ids, stream);
  run_normal(out, {batch(out), static_cast<float*>(out.data_ptr()), noise(ids, stream, seed)});
}

void bits(const Tensor& ids, int64_t stream, int64_t seed, const Tensor& out) {
  require_each(out, ids, ScalarType::Long, "out");
  require(out.is_contiguous(), "out");
  require_noise(std::nullopt, out, ids, stream);
  run_bits(out, {out.numel(), static_cast<int64_t*>(out.data_ptr()), noise(ids, stream, seed)});
}

void add_noise(const Tensor& x_start, const Tensor& signal, const Tensor& sigma, const Tensor& ids, int64_t stream, int64_t seed,
               const Maybe& given, const Tensor& out) {
  require_batch(x_start, "x_start");
  require_each(signal, x_start, ScalarType::Float, "signal");
  require_each(sigma, x_start, ScalarType::Float, "sigma");
  require_noise(given, x_start, ids, stream);
  require_place(out, x_start, x_start.scalar_type(), "out");
  run_add_noise(out, {batch(out), view(x_start), view(out), per_sample(signal), per_sample(sigma), noise(ids, stream, seed, given)});
}

void weighted_loss(const Tensor& output, const Tensor& x_start, const Tensor& target_x, const Tensor& target_eps, const Tensor& weight,
                   const Tensor& ids, int64_t stream, int64_t seed, const Maybe& given, int64_t norm, double delta, const Tensor& loss,
                   const Maybe& gradient) {
  require_batch(output, "output");
  require(output.size(0) == 0 || output.numel() > 0, "output");
  require_like(x_start, output, "x_start");
  require_each(target_x, output, ScalarType::Float, "target_x");
  require_each(target_eps, output, ScalarType::Float, "target_eps");
  require_each(weight, output, ScalarType::Float, "weight");
  require_noise(given, x_start, ids, stream);
  require(norm >= 0 && norm <= static_cast<int64_t>(Norm::huber), "norm");
  require_each(loss, output, ScalarType::Float, "loss");
  require(loss.is_contiguous(), "loss");
  if (gradient) require_place(*gradient, output, ScalarType::Float, "gradient");
  WeightedLoss op;
  op.batch = batch(output);
  op.output = view(output);
  op.x_start = view(x_start);
  op.gradient = view(gradient);
  op.target_x = per_sample(target_x);
  op.target_eps = per_sample(target_eps);
  op.weight = per_sample(weight);
  op.noise = noise(ids, stream, seed, given);
  op.norm = static_cast<Norm>(norm);
  op.delta = static_cast<float>(delta);
  op.loss = static_cast<float*>(loss.data_ptr());
  run_weighted_loss(output, op);
}

// `row` as ReverseStep::set_row has it. `clip_all` bounds all samples where `clip` is not given; infinity is no bound.
void reverse_step(const Tensor& x, const Tensor& output, const std::vector<double>& row, const std::vector<Tensor>& history,
                  const Maybe& anchor, const Maybe& clip, double clip_all, const Tensor& ids, int64_t stream, int64_t seed,
                  const Maybe& given, const Tensor& out, const Maybe& m_out) {
  require_batch(x, "x");
  require_like(output, x, "output");
  require(row.size() >= 8 && row.size() <= 8 + kMaxHistory, "row");
  if (clip) require_each(*clip, x, ScalarType::Float, "clip");
  require_noise(given, x, ids, stream);
  require_place(out, x, x.scalar_type(), "out");
  if (m_out) require_place(*m_out, x, x.scalar_type(), "m");
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
  run_reverse_step(x, op);
}

#ifdef DDPMX_CUDA

std::string cuda_build() { return "for compute capability " DDPMX_ARCHS; }

#else

void fetch(const Tensor& pixels, const Tensor& ids, int64_t stream, int64_t seed, bool flip, const Tensor& out) {
  require(pixels.scalar_type() == ScalarType::Byte && pixels.dim() == 4 && pixels.is_contiguous(), "pixels");
  require(ids.dim() == 1 && ids.scalar_type() == ScalarType::Long && same_device(ids, pixels), "ids");
  require(out.scalar_type() == ScalarType::Float && out.is_contiguous() && out.dim() == 4 && same_device(out, pixels), "out");
  require(out.size(0) == ids.size(0) && out.size(1) == pixels.size(1) && out.size(2) == pixels.size(2), "out");
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
    STD_TORCH_CHECK(id >= 0 && id < pixels.size(0), "an id is not in the set: ", id);
  }
  torch::stable::parallel_for(0, op.images, 64, [&](int64_t first, int64_t last) { chosen().fetch(op, first, last); });
}

Pixels pixels(const Tensor& tensor) {
  Pixels p{tensor.data_ptr(), {}, tensor.scalar_type() == ScalarType::BFloat16};
  for (int64_t d = 0; d < 4; ++d) p.stride[d] = tensor.stride(d);
  return p;
}

void require_channels(const Tensor& t, const Tensor& x, int64_t of_each, const char* name) {
  require(t.scalar_type() == ScalarType::Float && t.is_contiguous() && t.numel() == x.size(1) * of_each && same_device(t, x), name);
}

void depthwise_gradient(const Tensor& x, const Tensor& gradient, const Tensor& of_weight, const Tensor& of_bias) {
  require(is_float(x) && x.dim() == 4, "x");
  require_like(gradient, x, "gradient");
  require_channels(of_weight, x, kTaps, "of_weight");
  require_channels(of_bias, x, 1, "of_bias");
  DepthwiseGradient op;
  op.images = x.size(0);
  op.channels = x.size(1);
  op.height = x.size(2);
  op.width = x.size(3);
  op.x = pixels(x);
  op.gradient = pixels(gradient);
  const int64_t parts = (op.images + kImages - 1) / kImages, channels = op.channels;
  const std::unique_ptr<float[]> partial(new float[parts * channels * (kTaps + 1)]);
  op.partial = partial.get();
  torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) { chosen().depthwise_gradient(op, first, last); });
  auto *weight = static_cast<float*>(of_weight.data_ptr()), *bias = static_cast<float*>(of_bias.data_ptr());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t tap = 0; tap <= kTaps; ++tap) {
      double total = 0;
      for (int64_t part = 0; part < parts; ++part) total += op.partial[(part * channels + c) * (kTaps + 1) + tap];
      (tap < kTaps ? weight[c * kTaps + tap] : bias[c]) = static_cast<float>(total);
    }
  }
}

bool has_strides(const Tensor& t, std::initializer_list<int64_t> strides) {
  int64_t d = 0;
  for (const int64_t stride : strides) {
    if (t.size(d) != 1 && t.stride(d) != stride) return false;
    ++d;
  }
  return true;
}

// [images, channels, height, width] whose channels are neighbours in memory.
void require_pixels(const Tensor& t, const Tensor& x, const char* name) {
  const int64_t channels = t.dim() == 4 ? t.size(1) : 0, width = channels ? t.size(3) : 0, height = channels ? t.size(2) : 0;
  require(t.scalar_type() == ScalarType::Float && channels > 0 && same_device(t, x), name);
  require(has_strides(t, {height * width * channels, 1, width * channels, channels}), name);
  require(t.size(0) == x.size(0) && t.size(2) == x.size(2) && t.size(3) == x.size(3), name);
}

Convolution convolution(const Tensor& x, int64_t outputs) {
  require(x.size(1) >= kWidest && outputs >= kWidest, "channels");  // a vector that begins in a pixel ends in the next
  Convolution op;
  op.images = x.size(0);
  op.inputs = x.size(1);
  op.height = x.size(2);
  op.width = x.size(3);
  op.outputs = outputs;
  op.x = static_cast<const float*>(x.data_ptr());
  return op;
}

// `turned`: from the gradient of a convolution's results to that of its x.
void convolve(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, bool turned, const Tensor& out) {
  require(x.dim() == 4, "x");
  require_pixels(x, x, "x");
  require_pixels(out, x, "out");
  const int64_t of_x = turned ? 0 : 1, of_out = turned ? 1 : 0;
  require(weight.scalar_type() == ScalarType::Float && same_device(weight, x) && weight.dim() == 4, "weight");
  require(weight.size(of_x) == x.size(1) && weight.size(of_out) == out.size(1) && weight.size(2) == 3 && weight.size(3) == 3, "weight");
  if (bias) require_channels(*bias, out, 1, "bias");
  Convolution op = convolution(x, out.size(1));
  if (op.tiles() == 0) return;
  op.weight = static_cast<const float*>(weight.data_ptr());
  op.weight_input = weight.stride(of_x);
  op.weight_output = weight.stride(of_out);
  op.weight_y = weight.stride(2);
  op.weight_x = weight.stride(3);
  if (turned) {
    op.weight += 2 * (op.weight_y + op.weight_x);
    op.weight_y *= -1;
    op.weight_x *= -1;
  }
  if (bias) op.bias = static_cast<const float*>(bias->data_ptr());
  op.out = static_cast<float*>(out.data_ptr());
  const std::unique_ptr<float[]> points(new float[kPoints * op.inputs * padded(op.outputs)]);
  op.points = points.get();
  torch::stable::parallel_for(0, op.inputs, 16, [&](int64_t first, int64_t last) { chosen().weight_points(op, first, last); });
  const int64_t chunks = (op.tiles() + kTiles - 1) / kTiles;
  torch::stable::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) { chosen().convolve(op, first, last); });
}

void convolution_gradient(const Tensor& x, const Tensor& gradient, const Tensor& of_weight, const Tensor& of_bias) {
  require(x.dim() == 4, "x");
  require_pixels(x, x, "x");
  require_pixels(gradient, x, "gradient");
  require_channels(of_weight, gradient, 9 * x.size(1), "of_weight");
  require_channels(of_bias, gradient, 1, "of_bias");
  ConvolutionGradient op;
  op.convolution = convolution(x, gradient.size(1));
  op.gradient = static_cast<const float*>(gradient.data_ptr());
  const int64_t parts = op.convolution.tiles() ? op.parts() : 0, inputs = x.size(1), outputs = gradient.size(1), row = padded(outputs);
  const std::unique_ptr<float[]> partial(new float[parts * op.of_part()]);
  op.partial = partial.get();
  torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) { chosen().convolution_gradient(op, first, last); });
  auto *weight = static_cast<float*>(of_weight.data_ptr()), *bias = static_cast<float*>(of_bias.data_ptr());
  torch::stable::parallel_for(0, outputs, 16, [&](int64_t first, int64_t last) {
    for (int64_t output = first; output < last; ++output) {
      for (int64_t place = 0; place <= 9 * inputs; ++place) {
        double total = 0;
        for (int64_t part = 0; part < parts; ++part) total += op.partial[part * op.of_part() + place * row + output];
        float& sum = place == 9 * inputs ? bias[output] : weight[(output * inputs + place % inputs) * 9 + place / inputs];
        sum = static_cast<float>(total);
      }
    }
  });
}

Normalisation normalisation(const Tensor& x, const Tensor& gamma, bool gelu, const Tensor& statistics) {
  require(x.dim() == 4, "x");
  require_pixels(x, x, "x");
  require_channels(gamma, x, 1, "gamma");
  require(statistics.scalar_type() == ScalarType::Float && statistics.is_contiguous(), "statistics");
  require(statistics.numel() == 2 * x.size(0) && same_device(statistics, x), "statistics");
  Normalisation op;
  op.images = x.size(0);
  op.channels = x.size(1);
  op.elements = x.size(1) * x.size(2) * x.size(3);
  op.gelu = gelu;
  op.x = static_cast<const float*>(x.data_ptr());
  op.gamma = static_cast<const float*>(gamma.data_ptr());
  op.mean = static_cast<float*>(statistics.data_ptr());
  op.scale = op.mean + op.images;
  return op;
}

void normalise(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon, bool gelu, const Tensor& out,
               const Tensor& statistics) {
  Normalisation op = normalisation(x, gamma, gelu, statistics);
  require_pixels(out, x, "out");
  require_channels(beta, x, 1, "beta");
  require(out.size(1) == x.size(1), "out");
  op.beta = static_cast<const float*>(beta.data_ptr());
  op.epsilon = epsilon;
  op.out = static_cast<float*>(out.data_ptr());
  torch::stable::parallel_for(0, op.images, 1, [&](int64_t first, int64_t last) { chosen().normalise(op, first, last); });
}

void normalise_gradient(const Tensor& x, const Tensor& gradient, const Tensor& gamma, bool gelu, const Tensor& statistics,
                        const Tensor& of_x, const Tensor& of_gamma, const Tensor& of_beta) {
  NormalisationGradient op;
  op.normalisation = normalisation(x, gamma, gelu, statistics);
  require_pixels(gradient, x, "gradient");
  require_pixels(of_x, x, "of_x");
  require(gradient.size(1) == x.size(1) && of_x.size(1) == x.size(1), "of_x");
  require_channels(of_gamma, x, 1, "of_gamma");
  require_channels(of_beta, x, 1, "of_beta");
  op.gradient = static_cast<const float*>(gradient.data_ptr());
  op.of_x = static_cast<float*>(of_x.data_ptr());
  const int64_t parts = (op.normalisation.images + kImages - 1) / kImages, channels = op.normalisation.channels;
  const std::unique_ptr<double[]> partial(new double[parts * 2 * channels]);
  op.partial = partial.get();
  torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) { chosen().normalise_gradient(op, first, last); });
  float* const sums[] = {static_cast<float*>(of_gamma.data_ptr()), static_cast<float*>(of_beta.data_ptr())};
  for (int64_t c = 0; c < 2 * channels; ++c) {
    double total = 0;
    for (int64_t part = 0; part < parts; ++part) total += op.partial[part * 2 * channels + c];
    sums[c / channels][c % channels] = static_cast<float>(total);
  }
}

std::string cpu_level() { return chosen().name; }

// Slowest first: all that are compiled in, or those that this machine runs.
std::string cpu_levels(bool all) {
  int count;
  const Level* levels = cpu::levels(count);
  std::string names;
  for (int i = 0; i < count; ++i)
    if (all || levels[i].runs_here()) names += (i ? " " : "") + std::string(levels[i].name);
  return names;
}

void set_cpu_level(std::string name) {
  int count;
  const Level* levels = cpu::levels(count);
  for (int i = 0; i < count; ++i) {
    if (levels[i].name == name && levels[i].runs_here()) {
      level = levels + i;
      return;
    }
  }
  STD_TORCH_CHECK(false, "no such level here: ", name);
}

std::string cpp_build() { return "compiled by " DDPMX_COMPILER " with " DDPMX_FLAGS; }

#endif

}  // namespace
}  // namespace ddpmx::binding

#ifndef DDPMX_CUDA

STABLE_TORCH_LIBRARY(ddpmx, m) {
  m.def("normal(Tensor sample_ids, SymInt stream, SymInt seed, Tensor(a!) out) -> ()");
  m.def("bits(Tensor sample_ids, SymInt stream, SymInt seed, Tensor(a!) out) -> ()");
  m.def(
      "add_noise(Tensor x_start, Tensor signal, Tensor sigma, Tensor sample_ids, SymInt stream, SymInt seed, Tensor? noise, "
      "Tensor(a!) out) -> ()");
  m.def(
      "weighted_loss(Tensor output, Tensor x_start, Tensor target_x, Tensor target_eps, Tensor weight, Tensor sample_ids, "
      "SymInt stream, SymInt seed, Tensor? noise, int norm, float delta, Tensor(a!) loss, Tensor(b!)? gradient) -> ()");
  m.def(
      "reverse_step(Tensor x, Tensor output, float[] row, Tensor[] history, Tensor? anchor, Tensor? clip, float clip_all, "
      "Tensor sample_ids, SymInt stream, SymInt seed, Tensor? noise, Tensor(a!) out, Tensor(b!)? m) -> ()");
  m.def("fetch(Tensor pixels, Tensor ids, SymInt stream, SymInt seed, bool flip, Tensor(a!) out) -> ()");
  m.def("depthwise_gradient(Tensor x, Tensor gradient, Tensor(a!) of_weight, Tensor(b!) of_bias) -> ()");
  m.def("convolve(Tensor x, Tensor weight, Tensor? bias, bool turned, Tensor(a!) out) -> ()");
  m.def("convolution_gradient(Tensor x, Tensor gradient, Tensor(a!) of_weight, Tensor(b!) of_bias) -> ()");
  m.def("normalise(Tensor x, Tensor gamma, Tensor beta, float epsilon, bool gelu, Tensor(a!) out, Tensor(b!) statistics) -> ()");
  m.def(
      "normalise_gradient(Tensor x, Tensor gradient, Tensor gamma, bool gelu, Tensor statistics, Tensor(a!) of_x, "
      "Tensor(b!) of_gamma, Tensor(c!) of_beta) -> ()");
  m.def("cpu_level() -> str");
  m.def("cpu_levels(bool all) -> str");
  m.def("set_cpu_level(str name) -> ()");
  m.def("cpp_build() -> str");
  m.def("cuda_build() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&ddpmx::binding::cpu_level));
  m.impl("cpu_levels", TORCH_BOX(&ddpmx::binding::cpu_levels));
  m.impl("set_cpu_level", TORCH_BOX(&ddpmx::binding::set_cpu_level));
  m.impl("cpp_build", TORCH_BOX(&ddpmx::binding::cpp_build));
}

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CPU, m) {
  m.impl("fetch", TORCH_BOX(&ddpmx::binding::fetch));
  m.impl("depthwise_gradient", TORCH_BOX(&ddpmx::binding::depthwise_gradient));
  m.impl("normalise", TORCH_BOX(&ddpmx::binding::normalise));
  m.impl("normalise_gradient", TORCH_BOX(&ddpmx::binding::normalise_gradient));
  m.impl("convolve", TORCH_BOX(&ddpmx::binding::convolve));
  m.impl("convolution_gradient", TORCH_BOX(&ddpmx::binding::convolution_gradient));
#else

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CompositeExplicitAutograd, m) { m.impl("cuda_build", TORCH_BOX(&ddpmx::binding::cuda_build)); }

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CUDA, m) {
#endif
  m.impl("normal", TORCH_BOX(&ddpmx::binding::normal));
  m.impl("bits", TORCH_BOX(&ddpmx::binding::bits));
  m.impl("add_noise", TORCH_BOX(&ddpmx::binding::add_noise));
  m.impl("weighted_loss", TORCH_BOX(&ddpmx::binding::weighted_loss));
  m.impl("reverse_step", TORCH_BOX(&ddpmx::binding::reverse_step));
}
