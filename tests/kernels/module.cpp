// For tests only, never shipped: the CPU levels and the emulated CUDA kernels, on numpy arrays. bfloat16 is
// uint16.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "emulate.h"
// needs emulate.h
#include "cuda.cu"
#include "levels.h"

#define DDPMX_INDEPENDENT
#define DDPMX_NOINLINE
// The eight lanes of the AVX-512 level without its instructions, for machines that lack them.
namespace ddpmx::eight {
struct Lanes {
  typedef uint64_t Words __attribute__((vector_size(64)));
  static constexpr int count = 8, interleaved = 4;
  static Words multiply(Words a, uint32_t b) { return (a & 0xFFFFFFFFull) * static_cast<uint64_t>(b); }
  static Words even() { return Words{0, 2, 4, 6, 8, 10, 12, 14}; }
};
#include "loops.h"
}  // namespace ddpmx::eight

namespace {

namespace py = pybind11;
using namespace ddpmx;
using Maybe = std::optional<py::array>;

std::vector<Level> levels() {
  int count;
  const Level* first = cpu::levels(count);
  std::vector<Level> all(first, first + count);
#define DDPMX_LOOP(NAME, ...) eight::NAME,
  all.push_back({{DDPMX_NOISE_OPERATORS(DDPMX_LOOP)}, "eight", [] { return true; }});
#undef DDPMX_LOOP
  return all;
}

View view(const Maybe& array) {
  View v;
  if (!array) return v;
  std::vector<int64_t> sizes(array->shape(), array->shape() + array->ndim()), strides;
  for (int d = 0; d < array->ndim(); ++d) strides.push_back(array->strides(d) / array->itemsize());
  if (!make_view(v, const_cast<void*>(array->data()), array->itemsize() == 2, array->ndim(), sizes.data(),
                 strides.data()))
    throw std::runtime_error("too many dimensions");
  return v;
}

PerSample per_sample(const py::array_t<float>& a) {
  return {a.data(), static_cast<int64_t>(a.strides(0) / sizeof(float)), 0};
}

Batch batch(const py::array& a) { return {a.shape(0), a.shape(0) ? a.size() / a.shape(0) : 0}; }

Noise noise(const py::array_t<int64_t>& ids, uint32_t stream, uint64_t seed,
            const Maybe& given = std::nullopt) {
  Noise n;
  n.given = view(given);
  n.ids = ids.data();
  n.id_stride = ids.strides(0) / sizeof(int64_t);
  n.seed = seed;
  n.stream = stream;
  return n;
}

// Runs an operation on "cuda", or in two halves on a CPU level.
template <class Op>
void run(const std::string& where, const Op& op, int (*kernel)(const Op&, void*),
         void (*Loops::*loop)(const Op&, int64_t, int64_t)) {
  if (where == "cuda") {
    if (kernel(op, nullptr) != 0) throw std::runtime_error("launch failed");
    return;
  }
  for (const Level& level : levels()) {
    if (where != level.name) continue;
    if (!level.runs_here()) throw std::runtime_error("not on this machine");
    const int64_t count = items(op.batch);
    (level.*loop)(op, 0, count / 2);
    (level.*loop)(op, count / 2, count);
    return;
  }
  throw std::runtime_error("no level " + where);
}

}  // namespace

PYBIND11_MODULE(ddpmx_kernels, m) {
  m.def("normal", [](const std::string& where, py::array_t<int64_t> ids, uint32_t stream, uint64_t seed,
                     py::array_t<float> out) {
    run(where, Normal{batch(out), out.mutable_data(), noise(ids, stream, seed)}, cuda::normal,
        &Loops::normal);
  });
  m.def("bits", [](const std::string& where, py::array_t<int64_t> ids, uint32_t stream, uint64_t seed,
                   py::array_t<int64_t> out) {
    const Bits op{{out.shape(0), 1}, out.mutable_data(), noise(ids, stream, seed)};
    if (!ids_are_valid(op.noise, op.batch.samples)) return false;
    run(where, op, cuda::bits, &Loops::bits);
    return true;
  });
  m.def("add_noise",
        [](const std::string& where, py::array x, py::array_t<float> signal, py::array_t<float> sigma,
           py::array_t<int64_t> ids, uint32_t stream, uint64_t seed, Maybe given, py::array out) {
          const AddNoise op{batch(x),           view(x),           view(out),
                            per_sample(signal), per_sample(sigma), noise(ids, stream, seed, given)};
          run(where, op, cuda::add_noise, &Loops::add_noise);
        });
  m.def(
      "weighted_loss",
      [](const std::string& where, py::array output, py::array x_start, py::array_t<float> target_x,
         py::array_t<float> target_eps, py::array_t<float> weight, py::array_t<int64_t> ids, uint32_t stream,
         uint64_t seed, Maybe given, int norm, float delta, py::array_t<float> loss, Maybe gradient) {
        std::vector<double> partial(batch(output).samples * parts(batch(output).elements));
        WeightedLoss op{batch(output),           view(output),
                        view(x_start),           view(gradient),
                        per_sample(target_x),    per_sample(target_eps),
                        per_sample(weight),      noise(ids, stream, seed, given),
                        static_cast<Norm>(norm), delta,
                        loss.mutable_data(),     partial.data()};
        run(where, op, cuda::weighted_loss, &Loops::weighted_loss);
        if (where == "cuda") return;
        for (int64_t sample = 0; sample < op.batch.samples; ++sample)
          op.loss[sample] = loss_of_sample(op, sample);
      });
  m.def("reverse_step", [](const std::string& where, py::array x, py::array output, std::vector<double> row,
                           std::vector<py::array> history, py::array anchor, py::array_t<float> clip,
                           py::array_t<int64_t> ids, uint32_t stream, uint64_t seed, Maybe given,
                           py::array out, Maybe m_out) {
    ReverseStep op;
    op.batch = batch(x);
    op.set_row(row.data(), static_cast<int>(row.size()));
    if (op.uses(kX)) op.source[kX] = view(x);
    if (op.uses(kOutput)) op.source[kOutput] = view(output);
    if (op.uses(kAnchor)) op.source[kAnchor] = view(anchor);
    for (size_t i = 0; i < history.size(); ++i) op.source[kHistory + i] = view(history[i]);
    op.out = view(out);
    op.m_out = view(m_out);
    op.clip = per_sample(clip);
    op.noise = noise(ids, stream, seed, given);
    run(where, op, cuda::reverse_step, &Loops::reverse_step);
  });
}
