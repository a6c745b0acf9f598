// GroupNorm (Wu & He 2018, arXiv:1803.08494) of an image in channels_last order, alone or followed by SiLU
// (Hendrycks & Gimpel 2016, arXiv:1606.08415). An image is a sequence of rows of whole pixels: a place in a
// row has the same channel in all of them, so sums over pixels lie there side by side, and every level adds
// in the same order. The passes over an image run while it is in the cache. Needs: images.h, norm.h.

// z·σ(z) and its derivative. The relative error of the first is below 4e-7 for z >= −87.
DDPMX_INLINE float silu(float z, float& slope) {
  const float size = fabsf(z), power = exponential_below_0(size < 87 ? -size : -87.0f);
  const float large = 1.0f / (1.0f + power), small = power * large;  // σ(|z|) and σ(−|z|)
  const float sigma = z < 0 ? small : large, rest = z < 0 ? large : small;
  slope = sigma * (1.0f + z * rest);
  return z * sigma;
}

constexpr int64_t kStretch = 64;  // rows whose sums are floats; totals are doubles

// What images need one after the other: memory for a row of numbers per channel, and for totals.
struct Grouped {
  const GroupNormalisation& op;
  const int64_t count, row, width;  // elements of an image and of a row, channels of a group
  // Of each place: mean, 1/√(variance + epsilon)·gamma and beta; two sums; what the gradient subtracts.
  const Scratch means, factors, shifts, sums, slopes, offsets, memory;
  double *const totals, *const averages;  // [2, channels] and [groups]

  static int64_t row_of(int64_t channels) {
    const int64_t length = period(channels);
    return (kBlock + length - 1) / length * length;
  }

  explicit Grouped(const GroupNormalisation& norm)
      : op(norm),
        count(norm.x.elements),
        row(row_of(norm.channels)),
        width(norm.channels / norm.groups),
        means(row),
        factors(row),
        shifts(row),
        sums(2 * row),
        slopes(row),
        offsets(row),
        memory(2 * (2 * norm.channels + norm.groups)),
        totals(reinterpret_cast<double*>(memory.values)),
        averages(totals + 2 * norm.channels) {
    memcpy(shifts.values, op.beta, op.channels * sizeof(float));
    repeat(shifts.values);
  }

  // Copies the numbers of the first pixel to the others of a row.
  void repeat(float* values) const {
    for (int64_t place = op.channels; place < row; place += op.channels)
      memcpy(values + place, values, op.channels * sizeof(float));
  }

  // f(start, length) for each row.
  template <class F>
  void rows(int64_t first, int64_t end, F f) const {
    for (int64_t start = first; start < end; start += row) f(start, smaller(end - start, row));
  }

  // Lets add(start, length) add to `kinds` sums at the places of each row, and sets the channels' totals.
  template <class Add>
  void sum(int kinds, Add add) const {
    for (int64_t i = 0; i < kinds * op.channels; ++i) totals[i] = 0;
    for (int64_t first = 0; first < count; first += kStretch * row) {
      memset(sums.values, 0, kinds * row * sizeof(float));
      rows(first, smaller(count, first + kStretch * row), add);
      for (int64_t kind = 0; kind < kinds; ++kind) {
        double* to = totals + kind * op.channels;
        for (int64_t place = 0; place < row; place += op.channels) {
          const float* from = sums.values + kind * row + place;
          for (int64_t c = 0; c < op.channels; ++c) to[c] += from[c];
        }
      }
    }
  }

  // Sets the means of the groups, of pixels and channels, from totals of the channels.
  template <class Total>
  void average(Total total) const {
    const double share = 1 / static_cast<double>(count / op.groups);
    for (int64_t g = 0; g < op.groups; ++g) {
      double all = 0;
      for (int64_t c = g * width; c < (g + 1) * width; ++c) all += total(c);
      averages[g] = all * share;
    }
  }

  // f(group, channel) for each channel.
  template <class F>
  void channels(F f) const {
    for (int64_t g = 0; g < op.groups; ++g)
      for (int64_t c = g * width; c < (g + 1) * width; ++c) f(g, c);
  }

  // Sets the moments of an image.
  void measure(const float* x, Moments* moments) const {
    float *all = sums.values, *centres = means.values;
    const double* total = totals;
    sum(1, [=](int64_t start, int64_t length) {
      const float* from = x + start;
      each(length, [=](int64_t i) { all[i] += from[i]; });
    });
    average([=](int64_t c) { return total[c]; });
    for (int64_t g = 0; g < op.groups; ++g) moments[g].mean = static_cast<float>(averages[g]);
    channels([=](int64_t g, int64_t c) { centres[c] = moments[g].mean; });
    repeat(centres);
    sum(1, [=](int64_t start, int64_t length) {
      const float* from = x + start;
      each(length, [=](int64_t i) { all[i] += (from[i] - centres[i]) * (from[i] - centres[i]); });
    });
    average([=](int64_t c) { return total[c]; });
    double* variances = averages;
    const double epsilon = op.epsilon;
    DDPMX_INDEPENDENT
    for (int64_t g = 0; g < op.groups; ++g) variances[g] = 1 / sqrt(variances[g] + epsilon);
    for (int64_t g = 0; g < op.groups; ++g) moments[g].scale = static_cast<float>(variances[g]);
  }

  // Sets the means and factors of each place.
  void use(const Moments* moments) const {
    channels([&](int64_t g, int64_t c) {
      means.values[c] = moments[g].mean;
      factors.values[c] = moments[g].scale * op.gamma[c];
    });
    repeat(means.values);
    repeat(factors.values);
  }

  // activate(z, slope) returns the result and sets its derivative.
  template <class Activate>
  void forward(const float* x, float* out, Activate activate) const {
    const float *centres = means.values, *scales = factors.values, *betas = shifts.values;
    rows(0, count, [=](int64_t start, int64_t length) {
      const float* from = x + start;
      float* to = out + start;
      each(length, [=](int64_t i) {
        float slope;
        to[i] = activate((from[i] - centres[i]) * scales[i] + betas[i], slope);
      });
    });
  }

  // The gradient of an image's x; those of gamma and beta go to `partial` [2, channels].
  template <class Activate>
  void backward(const float* x, const float* gradient, const Moments* moments, float* grad_x, double* partial,
                Activate activate) const {
    const float *centres = means.values, *scales = factors.values, *betas = shifts.values;
    float *products = sums.values, *plain = sums.values + row;
    sum(2, [=](int64_t start, int64_t length) {
      const float *from = x + start, *upstream = gradient + start;
      float* to = grad_x + start;  // for now the gradient of z
      each(length, [=](int64_t i) {
        const float centred = from[i] - centres[i];
        float slope;
        activate(centred * scales[i] + betas[i], slope);
        const float of_z = upstream[i] * slope;
        to[i] = of_z;
        products[i] += of_z * centred;
        plain[i] += of_z;
      });
    });
    subtracted(moments, partial);
    const float *slope = slopes.values, *offset = offsets.values;
    rows(0, count, [=](int64_t start, int64_t length) {
      const float* from = x + start;
      float* to = grad_x + start;
      each(length,
           [=](int64_t i) { to[i] = to[i] * scales[i] - (from[i] - centres[i]) * slope[i] - offset[i]; });
    });
  }

  // With n = (x − mean)·scale and g = (gradient of z)·gamma, the gradient of x is
  // (g − n·mean of g·n − mean of g)·scale: sets what is subtracted at each place.
  void subtracted(const Moments* moments, double* partial) const {
    channels([&](int64_t g, int64_t c) {
      partial[c] = totals[c] * moments[g].scale;
      partial[op.channels + c] = totals[op.channels + c];
    });
    average([&](int64_t c) { return op.gamma[c] * partial[c]; });
    channels([&](int64_t g, int64_t c) {
      slopes.values[c] = static_cast<float>(averages[g] * moments[g].scale * moments[g].scale);
    });
    average([&](int64_t c) { return op.gamma[c] * partial[op.channels + c]; });
    channels([&](int64_t g, int64_t c) {
      offsets.values[c] = static_cast<float>(averages[g] * moments[g].scale);
    });
    repeat(slopes.values);
    repeat(offsets.values);
  }
};

DDPMX_INLINE float identity(float z, float& slope) {
  slope = 1;
  return z;
}

// Handles the images [first, last).
void group_normalise(const GroupNormalisation& op, int64_t first, int64_t last) {
  const Grouped grouped(op);
  const Scratch buffer(buffer_size(op.x));
  for (int64_t image = first; image < last; ++image) {
    const float* x = read(op.x, image, buffer);
    float* out = destination(op.out, image, buffer);
    Moments* moments = op.moments + image * op.groups;
    grouped.measure(x, moments);
    grouped.use(moments);
    if (op.silu) {
      grouped.forward(x, out, [](float z, float& slope) { return silu(z, slope); });
    } else {
      grouped.forward(x, out, [](float z, float& slope) { return identity(z, slope); });
    }
    write(op.out, image, out);
  }
}

// Handles the images [first, last).
void group_normalise_gradient(const GroupNormalisationGradient& op, int64_t first, int64_t last) {
  const GroupNormalisation& norm = op.normalisation;
  const Grouped grouped(norm);
  const Scratch x_buffer(buffer_size(norm.x)), buffer(buffer_size(op.gradient));
  for (int64_t image = first; image < last; ++image) {
    const float *x = read(norm.x, image, x_buffer), *gradient = read(op.gradient, image, buffer);
    const Moments* moments = norm.moments + image * norm.groups;
    float* grad_x = destination(op.grad_x, image, buffer);
    double* partial = op.partial + image * 2 * norm.channels;
    grouped.use(moments);
    if (norm.silu) {
      grouped.backward(x, gradient, moments, grad_x, partial,
                       [](float z, float& slope) { return silu(z, slope); });
    } else {
      grouped.backward(x, gradient, moments, grad_x, partial,
                       [](float z, float& slope) { return identity(z, slope); });
    }
    write(op.grad_x, image, grad_x);
  }
}
