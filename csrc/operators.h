// The operators of torch.ops.ddpmx, in tables from which the schemas, implementations, CUDA launches and CPU
// loops are made. ddpmx/ops reads the names from the loaded library. A new operator is a line here, and the
// functions of that name.
#pragma once

// X(name, operation, schema): operators that make or use noise. `operation` is a struct of noise_ops.h, which
// NoiseOperators::name fills from tensors. `name` of loops.h is the CPU loop, and `cuda::name` launches the
// kernel.
#define DDPMX_NOISE_OPERATORS(X)                                                                             \
  X(normal, Normal, "(Tensor sample_ids, SymInt stream, SymInt seed, Tensor(a!) out) -> ()")                 \
  X(bits, Bits, "(Tensor sample_ids, SymInt stream, SymInt seed, Tensor(a!) out) -> ()")                     \
  X(add_noise, AddNoise,                                                                                     \
    "(Tensor x_start, Tensor signal, Tensor sigma, Tensor sample_ids, SymInt stream, SymInt seed, Tensor? "  \
    "noise, Tensor(a!) out) -> ()")                                                                          \
  X(weighted_loss, WeightedLoss,                                                                             \
    "(Tensor output, Tensor x_start, Tensor target_x, Tensor target_eps, Tensor weight, Tensor sample_ids, " \
    "SymInt stream, "                                                                                        \
    "SymInt seed, Tensor? noise, int norm, float delta, Tensor(a!) loss, Tensor(b!)? gradient) -> ()")       \
  X(reverse_step, ReverseStep,                                                                               \
    "(Tensor x, Tensor output, float[] row, Tensor[] history, Tensor? anchor, Tensor? clip, float "          \
    "clip_all, Tensor sample_ids, "                                                                          \
    "SymInt stream, SymInt seed, Tensor? noise, Tensor(a!) out, Tensor(b!)? m) -> ()")

// X(name, schema): operators on images and network layers, for CPUs only. `name` of bind_layers.cpp or
// bind_attention.cpp runs one or more of the loops below.
#define DDPMX_LAYER_OPERATORS(X)                                                                           \
  X(fetch, "(Tensor pixels, Tensor ids, SymInt stream, SymInt seed, bool flip, Tensor(a!) out) -> ()")     \
  X(depthwise_gradient, "(Tensor x, Tensor gradient, Tensor(a!) of_weight, Tensor(b!) of_bias) -> ()")     \
  X(convolve, "(Tensor x, Tensor weight, Tensor? bias, bool turned, Tensor(a!) out) -> ()")                \
  X(convolution_gradient, "(Tensor x, Tensor gradient, Tensor(a!) of_weight, Tensor(b!) of_bias) -> ()")   \
  X(normalise,                                                                                             \
    "(Tensor x, Tensor gamma, Tensor beta, float epsilon, bool gelu, Tensor(a!) out, Tensor(b!) "          \
    "statistics) -> ()")                                                                                   \
  X(normalise_gradient,                                                                                    \
    "(Tensor x, Tensor gradient, Tensor gamma, bool gelu, Tensor statistics, Tensor(a!) of_x, Tensor(b!) " \
    "of_gamma, "                                                                                           \
    "Tensor(c!) of_beta) -> ()")                                                                           \
  X(group_normalise,                                                                                       \
    "(Tensor x, Tensor[] weights, float epsilon, bool silu, Tensor(a!) out, Tensor(b!) "                   \
    "statistics) -> ()")                                                                                   \
  X(group_normalise_gradient,                                                                              \
    "(Tensor x, Tensor gradient, Tensor[] weights, bool silu, Tensor statistics, Tensor(a!) of_x, "        \
    "Tensor(b!)[] of_weights) -> ()")                                                                      \
  X(linear_attention,                                                                                      \
    "(Tensor x, Tensor[] weights, float epsilon, Tensor(a!) out, Tensor(b!) statistics) -> ()")            \
  X(linear_attention_gradient,                                                                             \
    "(Tensor x, Tensor gradient, Tensor[] weights, Tensor statistics, Tensor(a!) of_x, Tensor(b!)[] "      \
    "of_weights) -> ()")

// X(name, operation): the layer loops of each CPU level, with their structs of layer_ops.h.
#define DDPMX_LAYER_LOOPS(X)                                                                   \
  X(fetch, Fetch)                                         /* items: images */                  \
  X(depthwise_gradient, DepthwiseGradient)                /* parts */                          \
  X(weight_points, Convolution)                           /* inputs */                         \
  X(convolve, Convolution)                                /* chunks of kTilesPerChunk tiles */ \
  X(convolution_gradient, ConvolutionGradient)            /* parts */                          \
  X(normalise, Normalisation)                             /* images */                         \
  X(normalise_gradient, NormalisationGradient)            /* parts */                          \
  X(group_normalise, GroupNormalisation)                  /* images */                         \
  X(group_normalise_gradient, GroupNormalisationGradient) /* images */                         \
  X(linear_attention, LinearAttention)                    /* images */                         \
  X(linear_attention_gradient, LinearAttentionGradient)   /* parts */
