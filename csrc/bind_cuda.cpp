// The operators for CUDA tensors.
#include <cuda_runtime.h>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include <string>

#include "noise_bindings.h"

namespace ddpmx::binding {
namespace {

// Queues a kernel on the current stream of the tensor's device.
template <class Op>
void run(const Tensor& tensor, const Op& op, int (*kernel)(const Op&, void*)) {
  const auto device = tensor.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  STD_CUDA_CHECK(static_cast<cudaError_t>(kernel(op, stream)));
}

struct Cuda {
  static void normal(const Tensor& t, const Normal& op) { run(t, op, cuda::normal); }
  static void bits(const Tensor& t, const Bits& op) { run(t, op, cuda::bits); }
  static void add_noise(const Tensor& t, const AddNoise& op) { run(t, op, cuda::add_noise); }
  static void reverse_step(const Tensor& t, const ReverseStep& op) { run(t, op, cuda::reverse_step); }

  static void weighted_loss(const Tensor& t, WeightedLoss& op) {
    const Tensor partial = torch::stable::new_empty(t, {items(op.batch)}, ScalarType::Double);
    op.partial = static_cast<double*>(partial.data_ptr());
    run(t, op, cuda::weighted_loss);
  }
};

std::string cuda_build() { return "for compute capability " DDPMX_ARCHS; }

}  // namespace
}  // namespace ddpmx::binding

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CompositeExplicitAutograd, m) { m.impl("cuda_build", TORCH_BOX(&ddpmx::binding::cuda_build)); }

STABLE_TORCH_LIBRARY_IMPL(ddpmx, CUDA, m) { ddpmx::binding::NoiseOperators<ddpmx::binding::Cuda>::implement(m); }
