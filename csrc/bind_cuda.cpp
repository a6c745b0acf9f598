// The noise operators for CUDA tensors.
#include <cuda_runtime.h>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include <string>

#include "noise_bindings.h"

namespace ddpmx::binding {
namespace {

// Launches a kernel on the current stream of the tensor's device.
template <class Op>
void run(const Tensor& tensor, Op& op, int (*kernel)(const Op&, void*)) {
  const auto device = tensor.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  STD_CUDA_CHECK(static_cast<cudaError_t>(kernel(op, stream)));
}

void run(const Tensor& tensor, WeightedLoss& op, int (*kernel)(const WeightedLoss&, void*)) {
  const Tensor partial = torch::stable::new_empty(tensor, {items(op.batch)}, ScalarType::Double);
  op.partial = static_cast<double*>(partial.data_ptr());
  run<WeightedLoss>(tensor, op, kernel);
}

struct Cuda {
#define DDPMX_ON_CUDA(NAME, OPERATION, SCHEMA) \
  static void NAME(const Tensor& tensor, OPERATION& op) { run(tensor, op, cuda::NAME); }
  DDPMX_NOISE_OPERATORS(DDPMX_ON_CUDA)
#undef DDPMX_ON_CUDA
};

std::string cuda_build() { return "for compute capability " DDPMX_ARCHS; }

}  // namespace
}  // namespace ddpmx::binding

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CompositeExplicitAutograd, m) {
  m.impl("cuda_build", TORCH_BOX(&ddpmx::binding::cuda_build));
}

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CUDA, m) {
  ddpmx::binding::NoiseOperators<ddpmx::binding::Cuda>::implement(m);
}
