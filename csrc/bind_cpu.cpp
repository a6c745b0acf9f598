// The schemas of torch.ops.ddpmx, its noise operators for CPU tensors, and the choice of a CPU level.
#include <torch/csrc/stable/ops.h>

#include <memory>
#include <string>

#include "current_level.h"
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

// The level set by set_cpu_level, or else the fastest that runs here. Null before its first use.
const Level* level = nullptr;

constexpr int64_t kGrain = 16384;  // elements worth a thread of their own

template <class Op>
void run(Op& op, void (*loop)(const Op&, int64_t, int64_t)) {
  STD_TORCH_CHECK(ids_are_valid(op.noise, op.batch.samples), "ddpmx: sample_ids should be 0 or more");
  const int64_t count = items(op.batch), elements = op.batch.samples * op.batch.elements;
  if (elements <= kGrain) return loop(op, 0, count);
  const int64_t grain = kGrain * count / elements;
  torch::stable::parallel_for(0, count, grain > 1 ? grain : 1,
                              [&](int64_t first, int64_t last) { loop(op, first, last); });
}

void run(WeightedLoss& op, void (*loop)(const WeightedLoss&, int64_t, int64_t)) {
  const std::unique_ptr<double[]> partial(new double[items(op.batch)]);
  op.partial = partial.get();
  run<WeightedLoss>(op, loop);
  for (int64_t sample = 0; sample < op.batch.samples; ++sample) op.loss[sample] = loss_of_sample(op, sample);
}

struct Cpu {
#define DDPMX_ON_CPU(NAME, OPERATION, SCHEMA) \
  static void NAME(const Tensor&, OPERATION& op) { run(op, current_level().NAME); }
  DDPMX_NOISE_OPERATORS(DDPMX_ON_CPU)
#undef DDPMX_ON_CPU
};

std::string cpu_level() { return current_level().name; }

// The names of all compiled levels, or only of those that run here, slowest first.
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
  STD_TORCH_CHECK(false, "ddpmx: no CPU level of that name runs here: ", name);
}

// The dtypes of the images that the kernels of layers take.
std::string layer_dtypes() { return "float32 bfloat16"; }

std::string cpp_build() { return "compiled by " DDPMX_COMPILER " with " DDPMX_FLAGS; }

}  // namespace

const Level& current_level() {
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
#define DDPMX_NOISE_SCHEMA(NAME, OPERATION, SCHEMA) m.def(#NAME SCHEMA);
#define DDPMX_LAYER_SCHEMA(NAME, SCHEMA) m.def(#NAME SCHEMA);
  DDPMX_NOISE_OPERATORS(DDPMX_NOISE_SCHEMA)
  DDPMX_LAYER_OPERATORS(DDPMX_LAYER_SCHEMA)
#undef DDPMX_NOISE_SCHEMA
#undef DDPMX_LAYER_SCHEMA
  m.def("cpu_level() -> str");
  m.def("cpu_levels(bool all) -> str");
  m.def("set_cpu_level(str name) -> ()");
  m.def("layer_dtypes() -> str");
  m.def("cpp_build() -> str");
  m.def("cuda_build() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&ddpmx::binding::cpu_level));
  m.impl("cpu_levels", TORCH_BOX(&ddpmx::binding::cpu_levels));
  m.impl("set_cpu_level", TORCH_BOX(&ddpmx::binding::set_cpu_level));
  m.impl("layer_dtypes", TORCH_BOX(&ddpmx::binding::layer_dtypes));
  m.impl("cpp_build", TORCH_BOX(&ddpmx::binding::cpp_build));
}

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CPU, m) {
  ddpmx::binding::NoiseOperators<ddpmx::binding::Cpu>::implement(m);
}
