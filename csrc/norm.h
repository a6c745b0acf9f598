// GroupNorm of one group (Wu & He 2018, arXiv:1803.08494) of an image's pixels or of their GELU (Hendrycks &
// Gimpel 2016, arXiv:1606.08415). The passes over an image run while it is in the cache. Sums have kLanes or
// a period of channels side by side, so that every level adds in the same order. Needs: loops.h (each),
// floats.h (smaller), images.h.

#include "gelu_constants.h"

// e^x for −87 <= x <= 0, with a relative error below 2e-7.
DDPMX_INLINE float exponential_below_0(float x) {
  constexpr float coefficients[] = DDPMX_EXP;
  const float k = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounded to an integer
  const float remainder = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  return float_of((static_cast<int32_t>(k) + 127) << 23) * horner(coefficients, remainder);
}

// x·Φ(x) and its derivative. The relative error is below 4e-7 for results of at least 1e-6 in absolute value.
DDPMX_INLINE float gelu(float x, float& slope) {
  constexpr float tail_coefficients[] = DDPMX_TAIL;
  const float size = fabsf(x), a = size < DDPMX_MAX_ABS ? size : DDPMX_MAX_ABS;
  const float power = exponential_below_0(a * a * -0.5f);
  const float tail = power * horner(tail_coefficients, 1.0f / (1.0f + DDPMX_P * a));
  const float phi = x < 0 ? tail : 1.0f - tail;
  slope = phi + x * power * 0.398942280f;
  return x * phi;
}

// The smallest number of floats that is whole vectors at every level, and whole pixels.
inline int64_t period(int64_t channels) {
  int64_t length = channels;
  while (length % kLanes) length += channels;
  return length;
}

// Σ term(i) for 0 <= i < count: stretches are summed in float, their totals in double.
template <class Term>
inline double sum_of(int64_t count, Term term) {
  constexpr int64_t kStretch = 64 * kLanes;
  double total = 0;
  for (int64_t first = 0; first < count; first += kStretch) {
    alignas(64) float sums[kLanes] = {};
    const int64_t end = count - first < kStretch ? count : first + kStretch;
    int64_t row = first;
    for (; row + kLanes <= end; row += kLanes) {
      DDPMX_INDEPENDENT
      for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += term(row + lane);
    }
    for (int64_t lane = 0; row + lane < end; ++lane) sums[lane] += term(row + lane);
    for (const float sum : sums) total += sum;
  }
  return total;
}

// A number per channel, repeated over one period. All 0 if `from` is null.
struct Repeated : Scratch {
  Repeated(const float* from, int64_t channels) : Scratch(period(channels)) {
    for (int64_t i = 0; i < period(channels); ++i) values[i] = from ? from[i % channels] : 0;
  }
};

// Of an image; scale = 1/√(variance + epsilon).
inline Moments moments_of(const float* values, int64_t count, double epsilon) {
  const double exact_mean = sum_of(count, [=](int64_t i) { return values[i]; }) / static_cast<double>(count);
  const float mean = static_cast<float>(exact_mean);
  const double variance = sum_of(count, [=](int64_t i) { return (values[i] - mean) * (values[i] - mean); }) /
                          static_cast<double>(count);
  return {mean, static_cast<float>(1 / sqrt(variance + epsilon))};
}

// to = (from − mean)·scale·gamma + beta, in an image. `to` may be `from`.
inline void scale_and_shift(const float* from, int64_t count, int64_t channels, Moments moments,
                            const Repeated& gamma, const Repeated& beta, float* to) {
  const int64_t length = period(channels);
  const float mean = moments.mean, scale = moments.scale, *gammas = gamma.values, *betas = beta.values;
  for (int64_t start = 0; start < count; start += length) {
    const float* source = from + start;
    float* target = to + start;
    each(smaller(count - start, length),
         [=](int64_t i) { target[i] = (source[i] - mean) * scale * gammas[i] + betas[i]; });
  }
}

// Handles the images [first, last).
void normalise(const Normalisation& op, int64_t first, int64_t last) {
  const Repeated gamma(op.gamma, op.channels), beta(op.beta, op.channels);
  const Scratch buffer(buffer_size(op.x));
  const int64_t count = op.x.elements;
  for (int64_t image = first; image < last; ++image) {
    const float* x = read(op.x, image, buffer);
    float* out = destination(op.out, image, buffer);
    if (op.gelu) {
      each(count, [=](int64_t i) {
        float slope;
        out[i] = gelu(x[i], slope);
      });
    } else if (out != x) {
      memcpy(out, x, count * sizeof(float));
    }
    const Moments moments = moments_of(out, count, op.epsilon);
    op.mean[image] = moments.mean;
    op.scale[image] = moments.scale;
    scale_and_shift(out, count, op.channels, moments, gamma, beta, out);
    write(op.out, image, out);
  }
}

// The gradients of images one after the other, with the memory that they need.
struct NormGradient {
  const int64_t channels, count, length;  // channels and elements of an image, and the period
  const bool of_gelu;
  const Repeated gamma, gamma_sums, beta_sums;
  const Scratch normal, slope;

  NormGradient(int64_t elements, int64_t image_channels, const float* gammas, bool gelu)
      : channels(image_channels),
        count(elements),
        length(period(channels)),
        of_gelu(gelu),
        gamma(gammas, channels),
        gamma_sums(nullptr, channels),
        beta_sums(nullptr, channels),
        normal(count),
        slope(count) {}

  // The gradient of an image's x. Adds those of gamma and beta to `partial` [2, channels]. `grad_x` may be
  // `gradient`.
  void image(const float* x, const float* gradient, Moments moments, float* grad_x, double* partial) const {
    const float mean = moments.mean, scale = moments.scale;
    memset(gamma_sums.values, 0, length * sizeof(float));
    memset(beta_sums.values, 0, length * sizeof(float));
    for (int64_t start = 0; start < count; start += length) {
      const float *from = x + start, *upstream = gradient + start;
      float *to = normal.values + start, *slopes = slope.values + start, *gammas = gamma_sums.values,
            *betas = beta_sums.values;
      const auto add = [=](auto value, int64_t i) {
        float derivative = 1;
        to[i] = (value(from[i], derivative) - mean) * scale;
        slopes[i] = derivative;
        gammas[i] += upstream[i] * to[i];
        betas[i] += upstream[i];
      };
      const int64_t size = smaller(count - start, length);
      if (of_gelu) {
        each(size, [=](int64_t i) {
          add([](float value, float& derivative) { return gelu(value, derivative); }, i);
        });
      } else {
        each(size, [=](int64_t i) { add([](float value, float&) { return value; }, i); });
      }
    }
    double sum = 0, product = 0;
    for (int64_t i = 0; i < length; ++i) {
      const double gamma_sum = gamma_sums.values[i], beta_sum = beta_sums.values[i];
      partial[i % channels] += gamma_sum;
      partial[channels + i % channels] += beta_sum;
      product += gamma.values[i] * gamma_sum;
      sum += gamma.values[i] * beta_sum;
    }
    const float mean_slope = static_cast<float>(sum / static_cast<double>(count)),
                mean_product = static_cast<float>(product / static_cast<double>(count));
    // With n = (x − mean)·scale and g = upstream·gamma: (g − mean of g − n·mean of g·n)·scale, times GELU's
    // slope.
    for (int64_t start = 0; start < count; start += length) {
      const float *upstream = gradient + start, *from = normal.values + start, *slopes = slope.values + start,
                  *scales = gamma.values;
      float* to = grad_x + start;
      each(smaller(count - start, length), [=](int64_t i) {
        to[i] = (upstream[i] * scales[i] - mean_slope - from[i] * mean_product) * scale * slopes[i];
      });
    }
  }
};

// For each of the parts [first, last) of kImagesPerPart images: the gradient of x, and partial sums of the
// gradients of gamma and beta.
void normalise_gradient(const NormalisationGradient& op, int64_t first, int64_t last) {
  const Normalisation& forward = op.normalisation;
  const NormGradient backward(forward.x.elements, forward.channels, forward.gamma, forward.gelu);
  const Scratch x_buffer(buffer_size(forward.x)), buffer(buffer_size(op.gradient));
  for (int64_t part = first; part < last; ++part) {
    double* partial = op.partial + part * 2 * forward.channels;
    for (int64_t c = 0; c < 2 * forward.channels; ++c) partial[c] = 0;
    const int64_t end = smaller((part + 1) * kImagesPerPart, forward.images);
    for (int64_t image = part * kImagesPerPart; image < end; ++image) {
      const float *x = read(forward.x, image, x_buffer), *gradient = read(op.gradient, image, buffer);
      float* grad_x = destination(op.grad_x, image, buffer);
      backward.image(x, gradient, {forward.mean[image], forward.scale[image]}, grad_x, partial);
      write(op.grad_x, image, grad_x);
    }
  }
}
