// The schemas of torch.ops.ddpmx, its noise operators for CPU tensors, and the choice of a level.
#include <torch/csrc/stable/ops.h>

#include <memory>
#include <string>

#include "chosen.h"
#include "noise_bindings.h"

#if defined(__clang__)
#define DDPMX_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define DDPMX_COMPILER "g++ " __VERSION__
#else
#define DDPMX_COMPILER "an unknown compiler"
#endif

namespace ddpmx::binding {
namespace {

const Level* level = nullptr;  // the fastest that runs here, or the one that set_cpu_level chose

constexpr int64_t kGrain = 16384;  // elements that are worth a thread

template <class Op>
void run(const Op& op, void (*loop)(const Op&, int64_t, int64_t)) {
  for (int64_t i = 0; i < op.batch.samples; ++i) STD_TORCH_CHECK(op.noise.ids[i * op.noise.id_stride] >= 0, "a sample id is negative");
  const int64_t count = items(op.batch), elements = op.batch.samples * op.batch.elements;
  if (elements <= kGrain) return loop(op, 0, count);
  const int64_t grain = kGrain * count / elements;
  torch::stable::parallel_for(0, count, grain > 1 ? grain : 1, [&](int64_t first, int64_t last) { loop(op, first, last); });
}

struct Cpu {
  static void normal(const Tensor&, const Normal& op) { run(op, chosen().normal); }
  static void bits(const Tensor&, const Bits& op) { STD_TORCH_CHECK(cpu::bits(op), "a sample id is negative"); }
  static void add_noise(const Tensor&, const AddNoise& op) { run(op, chosen().add_noise); }
  static void reverse_step(const Tensor&, const ReverseStep& op) { run(op, chosen().reverse_step); }

  static void weighted_loss(const Tensor&, WeightedLoss& op) {
    const std::unique_ptr<double[]> partial(new double[items(op.batch)]);
    op.partial = partial.get();
    run(op, chosen().weighted_loss);
    for (int64_t sample = 0; sample < op.batch.samples; ++sample) op.loss[sample] = loss_of_sample(op, sample);
  }
};

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

}  // namespace

const Level& chosen() {
  if (!level) {
    int count;
    const Level* levels = cpu::levels(count);
    for (int i = 0; i < count; ++i)
      if (levels[i].runs_here()) level = levels + i;
  }
  return *level;
}

}  // namespace ddpmx::binding

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

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CPU, m) { ddpmx::binding::NoiseOperators<ddpmx::binding::Cpu>::implement(m); }
