// GroupNorm of one group (Wu & He 2018, arXiv:1803.08494), of an image's pixels or of their GELU (Hendrycks &
// Gimpel 2016, arXiv:1606.08415): an image is read again and again while it is in the cache. Sums are of
// kLanes or of a period of channels, so that every level adds in the same order. Needs: loops.h (each),
// floats.h (smaller).

#include "gelu_constants.h"

// x·Φ(x) and its derivative; relative to the result the error is below 4e-7 while that is no less than 1e-6
// in size.
DDPMX_INLINE float gelu(float x, float& slope) {
  constexpr float tail_coefficients[] = DDPMX_TAIL, exp_coefficients[] = DDPMX_EXP;
  const float size = fabsf(x), a = size < DDPMX_FARTHEST ? size : DDPMX_FARTHEST, exponent = a * a * -0.5f;
  const float k = (exponent * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounded to an integer
  const float rest = (exponent - k * 0.693359375f) - k * -2.12194440e-4f;
  const float power = float_of((static_cast<int32_t>(k) + 127) << 23) * horner(exp_coefficients, rest);
  const float tail = power * horner(tail_coefficients, 1.0f / (1.0f + DDPMX_P * a));
  const float share = x < 0 ? tail : 1.0f - tail;
  slope = share + x * power * 0.398942280f;
  return x * share;
}

// Whole vectors of every level, and whole pixels.
inline int64_t period(int64_t channels) {
  int64_t length = channels;
  while (length % kLanes) length += channels;
  return length;
}

// Σ term(i) for 0 <= i < count: in floats over stretches, in a double over those.
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

// A vector of numbers that is repeated over the channels of `count` elements.
struct Repeated : Scratch {
  Repeated(const float* from, int64_t channels) : Scratch(period(channels)) {
    for (int64_t i = 0; i < period(channels); ++i) values[i] = from ? from[i % channels] : 0;
  }
};

// The images [first, last).
void normalise(const Normalisation& op, int64_t first, int64_t last) {
  const Repeated gamma(op.gamma, op.channels), beta(op.beta, op.channels);
  const int64_t length = period(op.channels), count = op.elements;
  for (int64_t image = first; image < last; ++image) {
    const float* x = op.x + image * count;
    float* out = op.out + image * count;
    if (op.gelu) {
      each(count, [=](int64_t i) {
        float slope;
        out[i] = gelu(x[i], slope);
      });
    } else {
      memcpy(out, x, count * sizeof(float));
    }
    const double mean = sum_of(count, [=](int64_t i) { return out[i]; }) / static_cast<double>(count);
    const float middle = static_cast<float>(mean);
    const double variance = sum_of(count, [=](int64_t i) { return (out[i] - middle) * (out[i] - middle); }) /
                            static_cast<double>(count);
    const float scale = static_cast<float>(1 / sqrt(variance + op.epsilon));
    op.mean[image] = middle;
    op.scale[image] = scale;
    for (int64_t start = 0; start < count; start += length) {
      float* place = out + start;
      const float *gammas = gamma.values, *betas = beta.values;
      each(smaller(count - start, length),
           [=](int64_t i) { place[i] = (place[i] - middle) * scale * gammas[i] + betas[i]; });
    }
  }
}

// Of the parts [first, last) of kImages images: the gradient of x, and partial sums of those of gamma and
// beta.
void normalise_gradient(const NormalisationGradient& op, int64_t first, int64_t last) {
  const Normalisation& of = op.normalisation;
  const int64_t length = period(of.channels), count = of.elements;
  const Repeated gamma(of.gamma, of.channels), of_gamma(nullptr, of.channels), of_beta(nullptr, of.channels);
  const Scratch normal(count), slope(count);
  for (int64_t part = first; part < last; ++part) {
    double* partial = op.partial + part * 2 * of.channels;
    for (int64_t c = 0; c < 2 * of.channels; ++c) partial[c] = 0;
    const int64_t end = (part + 1) * kImages < of.images ? (part + 1) * kImages : of.images;
    for (int64_t image = part * kImages; image < end; ++image) {
      const float *x = of.x + image * count, *gradient = op.gradient + image * count;
      const float mean = of.mean[image], scale = of.scale[image];
      float* of_x = op.of_x + image * count;
      memset(of_gamma.values, 0, length * sizeof(float));
      memset(of_beta.values, 0, length * sizeof(float));
      for (int64_t start = 0; start < count; start += length) {
        const float *from = x + start, *upstream = gradient + start;
        float *to = normal.values + start, *slopes = slope.values + start, *gammas = of_gamma.values,
              *betas = of_beta.values;
        const auto add = [=](auto value, int64_t i) {
          float by = 1;
          to[i] = (value(from[i], by) - mean) * scale;
          slopes[i] = by;
          gammas[i] += upstream[i] * to[i];
          betas[i] += upstream[i];
        };
        const int64_t here = smaller(count - start, length);
        if (of.gelu) {
          each(here, [=](int64_t i) { add([](float value, float& by) { return gelu(value, by); }, i); });
        } else {
          each(here, [=](int64_t i) { add([](float value, float&) { return value; }, i); });
        }
      }
      double sum = 0, product = 0;
      for (int64_t i = 0; i < length; ++i) {
        const double by_gamma = of_gamma.values[i], by_beta = of_beta.values[i];
        partial[i % of.channels] += by_gamma;
        partial[of.channels + i % of.channels] += by_beta;
        product += gamma.values[i] * by_gamma;
        sum += gamma.values[i] * by_beta;
      }
      const float mean_slope = static_cast<float>(sum / static_cast<double>(count)),
                  mean_product = static_cast<float>(product / static_cast<double>(count));
      for (int64_t start = 0; start < count; start += length) {
        const float *upstream = gradient + start, *from = normal.values + start,
                    *slopes = slope.values + start, *by = gamma.values;
        float* to = of_x + start;
        each(smaller(count - start, length), [=](int64_t i) {
          to[i] = (upstream[i] * by[i] - mean_slope - from[i] * mean_product) * scale * slopes[i];
        });
      }
    }
  }
}
