// The loops that make or use noise. A chunk of four generator blocks of a sample is processed in several
// passes, over memory that stays in the first-level cache. Needs: Lanes, a vector of `Lanes::count` 64-bit
// words.

#include "normals.h"

constexpr int kChunk = 4 * kBlock;
using Buffer = float[kChunk];

// Calls f(i) for 0 <= i < count, as far as possible in whole blocks, whose length the compiler knows. The
// index is as wide as a pointer: Python's flags include -fwrapv, under which loops over narrower ones are not
// vectorised.
template <class F>
inline void each(int64_t count, F f) {
  int64_t done = 0;
  for (; done + kBlock <= count; done += kBlock) {
    DDPMX_INDEPENDENT
    for (int64_t i = 0; i < kBlock; ++i) f(done + i);
  }
  DDPMX_INDEPENDENT
  for (int64_t i = done; i < count; ++i) f(i);
}

// Calls visit(offset, index) for the elements [first, first + count) of a sample with any strides.
template <class Visit>
inline void walk(const View& view, int64_t sample, int64_t first, int count, Visit visit) {
  int64_t index[kMaxDims], offset = sample * view.batch_stride;
  for (int d = view.dims - 1; d >= 0; --d) {
    index[d] = first % view.size[d];
    first /= view.size[d];
    offset += index[d] * view.stride[d];
  }
  const int last = view.dims - 1;
  const int64_t stride = view.stride[last];
  for (int i = 0; i < count;) {
    const int length = static_cast<int>(
        view.size[last] - index[last] < count - i ? view.size[last] - index[last] : count - i);
    for (int j = 0; j < length; ++j) visit(offset + j * stride, i + j);
    i += length;
    index[last] += length;
    offset += length * stride;
    for (int d = last; d > 0 && index[d] == view.size[d]; --d) {
      offset += view.stride[d - 1] - index[d] * view.stride[d];
      index[d] = 0;
      ++index[d - 1];
    }
  }
}

inline bool is_contiguous_float(const View& view) { return !view.narrow && view.dims == 0; }

// A chunk as floats: the tensor's own memory if it holds contiguous floats, else a copy in the buffer.
inline const float* read(const View& view, int64_t sample, int64_t first, int count, Buffer& buffer) {
  const auto* wide = static_cast<const float*>(view.data);
  const auto* narrow = static_cast<const uint16_t*>(view.data);
  const int64_t offset = sample * view.batch_stride + first;
  if (is_contiguous_float(view)) return wide + offset;
  if (view.dims && view.narrow) {
    walk(view, sample, first, count, [&](int64_t from, int i) { buffer[i] = from_bfloat16(narrow[from]); });
  } else if (view.dims) {
    walk(view, sample, first, count, [&](int64_t from, int i) { buffer[i] = wide[from]; });
  } else {
    each(count, [=, &buffer](int64_t i) { buffer[i] = from_bfloat16(narrow[offset + i]); });
  }
  return buffer;
}

// Memory to compute a chunk in: the tensor's own if possible, else the buffer, from which `write` copies it.
inline float* destination(const View& view, int64_t sample, int64_t first, Buffer& buffer) {
  return is_contiguous_float(view) ? static_cast<float*>(view.data) + sample * view.batch_stride + first
                                   : buffer;
}

inline void write(const View& view, int64_t sample, int64_t first, int count, const float* values) {
  auto* wide = static_cast<float*>(view.data);
  auto* narrow = static_cast<uint16_t*>(view.data);
  const int64_t offset = sample * view.batch_stride + first;
  if (is_contiguous_float(view)) return;
  if (view.dims && view.narrow) {
    walk(view, sample, first, count, [&](int64_t to, int i) { narrow[to] = to_bfloat16(values[i]); });
  } else if (view.dims) {
    walk(view, sample, first, count, [&](int64_t to, int i) { wide[to] = values[i]; });
  } else {
    each(count, [=](int64_t i) { narrow[offset + i] = to_bfloat16(values[i]); });
  }
}

inline const float* noise_of(const Generator& generator, int64_t sample, int64_t first, int count,
                             Buffer& buffer) {
  if (generator.noise.given.data) return read(generator.noise.given, sample, first, count, buffer);
  make_noise(generator, sample, first, count, buffer);
  return buffer;
}

// Calls body(sample, first, count) for each chunk of the items [first_item, last_item).
template <class Body>
inline void each_chunk(const Batch& batch, int64_t first_item, int64_t last_item, Body body) {
  const int64_t parts_per_sample = parts(batch.elements);
  for (int64_t item = first_item; item < last_item; ++item) {
    const int64_t sample = item / parts_per_sample, start = item % parts_per_sample * kPart;
    const int64_t end = start + kPart < batch.elements ? start + kPart : batch.elements;
    for (int64_t first = start; first < end; first += kChunk)
      body(sample, first, static_cast<int>(end - first < kChunk ? end - first : kChunk));
  }
}

void normal(const Normal& op, int64_t first_item, int64_t last_item) {
  const Generator generator{op.noise};
  each_chunk(op.batch, first_item, last_item, [&](int64_t sample, int64_t first, int count) {
    alignas(64) float last[kBlock];
    float* out = op.out + sample * op.batch.elements + first;
    const int whole = count / kBlock * kBlock, remainder = count - whole;
    make_noise(generator, sample, first, whole, out);
    if (remainder == 0) return;
    make_noise(generator, sample, first + whole, remainder, last);
    memcpy(out + whole, last, remainder * sizeof(float));
  });
}

void bits(const Bits& op, int64_t first_item, int64_t last_item) {
  for (int64_t first = first_item; first < last_item; first += Lanes::count) {
    const int count = static_cast<int>(last_item - first < Lanes::count ? last_item - first : Lanes::count);
    int64_t lanes[Lanes::count] = {};
    for (int i = 0; i < count; ++i) lanes[i] = op.noise.ids[(first + i) * op.noise.id_stride];
    Words words;
    memcpy(&words, lanes, sizeof words);
    words = random_bits<Lanes>(words, op.noise.stream, op.noise.seed);
    memcpy(op.out + first, &words, count * sizeof(int64_t));
  }
}

void add_noise(const AddNoise& op, int64_t first_item, int64_t last_item) {
  const Generator generator{op.noise};
  each_chunk(op.batch, first_item, last_item, [&](int64_t sample, int64_t first, int count) {
    alignas(64) Buffer buffers[3];
    const float* x = read(op.x, sample, first, count, buffers[0]);
    const float* noise = noise_of(generator, sample, first, count, buffers[1]);
    float* out = destination(op.out, sample, first, buffers[2]);
    const float signal = op.signal.at(sample), sigma = op.sigma.at(sample);
    each(count, [=](int64_t i) { out[i] = mix(signal, x[i], sigma, noise[i]); });
    write(op.out, sample, first, count, out);
  });
}

template <Norm norm>
void weighted_loss_of(const WeightedLoss& op, int64_t first_item, int64_t last_item) {
  const Generator generator{op.noise};
  for (int64_t item = first_item; item < last_item; ++item) {
    alignas(64) float sums[kLanes] = {};
    each_chunk(op.batch, item, item + 1, [&](int64_t sample, int64_t first, int count) {
      alignas(64) Buffer buffers[4];
      const float* output = read(op.output, sample, first, count, buffers[0]);
      const float* x_start = read(op.x_start, sample, first, count, buffers[1]);
      const float* noise = noise_of(generator, sample, first, count, buffers[2]);
      const float target_x = op.target_x.at(sample), target_eps = op.target_eps.at(sample), delta = op.delta;
      float* gradient = op.gradient.data ? destination(op.gradient, sample, first, buffers[3]) : nullptr;
      const float scale = gradient_scale(op.weight.at(sample), op.batch.elements);
      const auto add = [=, &sums](int64_t row, int64_t lanes) {
        const auto residual_at = [=](int64_t i) {
          return residual(output[i], target_x, x_start[i], target_eps, noise[i]);
        };
        if (gradient) {
          DDPMX_INDEPENDENT
          for (int64_t lane = 0; lane < lanes; ++lane) {
            const float r = residual_at(row + lane);
            sums[lane] += error_of<norm>(r, delta);
            gradient[row + lane] = scale * slope_of<norm>(r, delta);
          }
        } else {
          for (int64_t lane = 0; lane < lanes; ++lane)
            sums[lane] += error_of<norm>(residual_at(row + lane), delta);
        }
      };
      int64_t row = 0;
      for (; row + kLanes <= count; row += kLanes) add(row, kLanes);
      add(row, count - row);
      if (gradient) write(op.gradient, sample, first, count, gradient);
    });
    double total = 0;
    for (const float sum : sums) total += sum;
    op.partial[item] = total;
  }
}

void weighted_loss(const WeightedLoss& op, int64_t first_item, int64_t last_item) {
  if (op.norm == Norm::l1) return weighted_loss_of<Norm::l1>(op, first_item, last_item);
  if (op.norm == Norm::l2) return weighted_loss_of<Norm::l2>(op, first_item, last_item);
  weighted_loss_of<Norm::huber>(op, first_item, last_item);
}

// out = sum, bounded to [-limit, limit]. `out` may be one of the sources.
template <bool bounded>
inline void sum_chunk(const Sum& sum, const float* const* source, int count, float* out, float limit = 0) {
  const auto bound = [limit](float value) { return bounded ? clamp(value, limit) : value; };
  if (sum.terms == 0) return each(count, [=](int64_t i) { out[i] = 0; });
  const float c = sum.coefficient[0], d = sum.coefficient[1];
  const float* x = source[sum.source[0]];
  if (sum.terms == 1) return each(count, [=](int64_t i) { out[i] = bound(first_term(c, x[i])); });
  const float* y = source[sum.source[1]];
  each(count, [=](int64_t i) { out[i] = bound(add_term(first_term(c, x[i]), d, y[i])); });
  for (int k = 2; k < sum.terms; ++k) {  // only x_next has this many
    const float next = sum.coefficient[k];
    const float* z = source[sum.source[k]];
    each(count, [=](int64_t i) { out[i] = add_term(out[i], next, z[i]); });
  }
}

void reverse_step(const ReverseStep& op, int64_t first_item, int64_t last_item) {
  const Generator generator{op.noise};
  const bool m_is_x0 = op.m.terms == 1 && op.m.source[0] == kX0 && op.m.coefficient[0] == 1;
  each_chunk(op.batch, first_item, last_item, [&](int64_t sample, int64_t first, int count) {
    alignas(64) Buffer buffers[kSources], m_buffer, next_buffer;
    const float* source[kSources];
    for (int s = 0; s < kNoise; ++s)
      if (op.source[s].data) source[s] = read(op.source[s], sample, first, count, buffers[s]);
    if (op.needs_noise) source[kNoise] = noise_of(generator, sample, first, count, buffers[kNoise]);
    float* m = op.m_out.data ? destination(op.m_out, sample, first, m_buffer) : nullptr;
    float* x0 = m && m_is_x0 ? m : buffers[kX0];
    source[kX0] = x0;
    sum_chunk<true>(op.x0, source, count, x0, op.clip.at(sample));
    if (m) {  // before x_next, which may overwrite x
      if (!m_is_x0) sum_chunk<false>(op.m, source, count, m);
      write(op.m_out, sample, first, count, m);
    }
    float* x_next = destination(op.out, sample, first, next_buffer);
    sum_chunk<false>(op.x_next, source, count, x_next);
    write(op.out, sample, first, count, x_next);
  });
}

// Handles the images [first, last).
void fetch(const Fetch& op, int64_t first, int64_t last) {
  const int64_t size = op.rows * op.width, width = op.width;
  for (int64_t image = first; image < last; ++image) {
    const int64_t id = op.noise.ids[image * op.noise.id_stride];
    const uint8_t* from = op.pixels + id * size;
    float* to = op.out + image * size;
    if (!op.flip || bits_of_sample(op.noise, id) >> 62) {
      each(size, [=](int64_t i) { to[i] = static_cast<float>(from[i]) / 127.5f - 1.0f; });
      continue;
    }
    for (int64_t row = 0; row < op.rows; ++row, from += width, to += width) {
      DDPMX_INDEPENDENT
      for (int64_t i = 0; i < width; ++i) to[i] = static_cast<float>(from[width - 1 - i]) / 127.5f - 1.0f;
    }
  }
}
