// Linear attention (Shen et al. 2018, arXiv:1812.01243) between two norms, added to its input. An image's
// q and k lie as [features, positions], so that the softmax over features takes whole vectors of positions.
// The values at each position are never computed: `mix` is applied to the small matrix kᵀ·n. Needs: norm.h,
// floats.h, images.h, matrix.h, softmax.h.

constexpr int64_t kPositions = 64;  // handled together, so that they stay in the first-level cache

// Rows of floats, padded with zeros to whole vectors. The offset between rows is not a power of two.
struct Rows : Scratch {
  const int64_t count, length, row;

  static int64_t stride(int64_t length) { return padded(length) + (padded(length) % 128 ? 0 : kWidest); }

  Rows(int64_t rows, int64_t columns)
      : Scratch(rows * stride(columns)), count(rows), length(columns), row(stride(columns)) {
    memset(values, 0, static_cast<size_t>(count * row) * sizeof(float));
  }

  // A copy of packed rows.
  Rows(int64_t rows, int64_t columns, const float* from) : Rows(rows, columns) { read(from); }

  float* at(int64_t r) const { return values + r * row; }

  void read(const float* from) const {
    for (int64_t r = 0; r < count; ++r) memcpy(at(r), from + r * length, length * sizeof(float));
  }

  void write(float* to) const {
    for (int64_t r = 0; r < count; ++r) memcpy(to + r * length, at(r), length * sizeof(float));
  }

  // Reads the packed transpose.
  void read_transposed(const float* from) const {
    for (int64_t c = 0; c < length; ++c)
      for (int64_t r = 0; r < count; ++r) values[r * row + c] = from[c * count + r];
  }
};

// The attention of one image after the other.
struct Attended {
  const LinearAttention& op;
  const int64_t head;     // features of each head
  const Rows mix_weight;  // [heads·channels, channels]
  const Repeated gamma, beta;
  const Rows n, columns;          // the norm of x: [positions, channels] and [channels, positions]
  const Rows k, keyed, mix, y;    // k is not divided by its sums
  const Scratch packed, inverse;  // inverse: 1/sums of k

  explicit Attended(const LinearAttention& attention)
      : op(attention),
        head(op.features / op.heads),
        mix_weight(op.heads * op.channels, op.channels, op.mix),
        gamma(op.gamma_in, op.channels),
        beta(op.beta_in, op.channels),
        n(op.positions, op.channels),
        columns(op.channels, op.positions),
        k(op.features, op.positions),
        keyed(op.features, op.channels),
        mix(op.features, op.channels),
        y(op.positions, op.channels),
        packed(op.elements()),
        inverse(op.features) {}

  // c[features, positions] = weight·nᵀ for `count` positions from `start` on.
  void project(const float* weight, int64_t start, int64_t count, float* c, int64_t row) const {
    const Product product{op.channels, op.channels, 1, columns.row, row, false};
    matrix_product(product, weight, columns.at(0) + start, c, op.features, count);
  }

  // n, k, keyed and mix of an image.
  void keys(const float* x, Moments moments) const {
    scale_and_shift(x, op.elements(), op.channels, moments, gamma, beta, packed.values);
    n.read(packed.values);
    columns.read_transposed(packed.values);
    blocks([&](int64_t start, int64_t count) { project(op.k, start, count, k.at(0) + start, k.row); });
    for (int64_t f = 0; f < op.features; ++f) inverse.values[f] = 1 / exponentials(k.at(f), op.positions);
    blocks([&](int64_t start, int64_t count) {
      const Product product{count, k.row, 1, n.row, keyed.row, start > 0};
      matrix_product(product, k.at(0) + start, n.at(start), keyed.at(0), op.features, op.channels);
    });
    scale_rows(keyed, inverse.values);
    for (int64_t h = 0; h < op.heads; ++h) {
      const Product product{op.channels, keyed.row, 1, mix_weight.row, mix.row, false};
      matrix_product(product, keyed.at(h * head), mix_weight.at(h * op.channels), mix.at(h * head), head,
                     op.channels);
    }
  }

  // q [features, positions] at `count` positions from `start` on, and y there, without the bias.
  void queries(int64_t start, int64_t count, float* q, int64_t row) const {
    project(op.q, start, count, q, row);
    for (int64_t i = 0; i < count; i += kFloats)
      for (int64_t h = 0; h < op.heads; ++h) softmax(q + h * head * row + i, head, row);
    const Product product{op.features, 1, row, mix.row, y.row, false};
    matrix_product(product, q, mix.at(0), y.at(start), count, op.channels);
  }

  // Copies y, with the bias.
  void write(float* to) const {
    for (int64_t p = 0; p < op.positions; ++p)
      for (int64_t c = 0; c < op.channels; ++c) to[p * op.channels + c] = y.at(p)[c] + op.bias[c];
  }

  void scale_rows(const Rows& rows, const float* by) const {
    for (int64_t r = 0; r < rows.count; ++r) {
      float* values = rows.at(r);
      const float factor = by[r];
      DDPMX_INDEPENDENT
      for (int64_t i = 0; i < rows.length; ++i) values[i] *= factor;
    }
  }

  template <class F>
  void blocks(F f) const {
    for (int64_t start = 0; start < op.positions; start += kPositions)
      f(start, smaller(kPositions, op.positions - start));
  }
};

// Handles the images [first, last).
void linear_attention(const LinearAttention& op, int64_t first, int64_t last) {
  const Attended attended(op);
  const Rows q(op.features, kPositions);
  const Repeated gamma(op.gamma_out, op.channels), beta(op.beta_out, op.channels);
  const Scratch x_buffer(buffer_size(op.x)), out_buffer(buffer_size(op.out));
  const int64_t count = op.elements();
  for (int64_t image = first; image < last; ++image) {
    const float* x = read(op.x, image, x_buffer);
    float* out = destination(op.out, image, out_buffer);
    Moments* moments = op.moments + 2 * image;
    moments[0] = moments_of(x, count, op.epsilon);
    attended.keys(x, moments[0]);
    attended.blocks(
        [&](int64_t start, int64_t positions) { attended.queries(start, positions, q.at(0), q.row); });
    attended.write(out);
    moments[1] = moments_of(out, count, op.epsilon);
    scale_and_shift(out, count, op.channels, moments[1], gamma, beta, out);
    each(count, [=](int64_t i) { out[i] += x[i]; });
    write(op.out, image, out);
  }
}

// The gradients of one image after the other.
struct AttendedGradient {
  const LinearAttentionGradient& gradient;
  const LinearAttention& op;
  const Attended attended;
  const NormGradient norm_in, norm_out;
  const Rows q_weight, k_weight, mix_transposed;  // [features, channels] twice, [heads·channels, channels]
  const Rows q, change;                           // change: the gradient of q's or k's logits, in a block
  const Rows grad_y, grad_y_columns, grad_mix, grad_keyed, grad_n;
  const Scratch packed, product;  // product: Σ_j keyed[f, j]·grad_keyed[f, j]
  const Scratch x_buffer, gradient_buffer, grad_x_buffer;

  explicit AttendedGradient(const LinearAttentionGradient& of)
      : gradient(of),
        op(of.attention),
        attended(op),
        norm_in(op.elements(), op.channels, op.gamma_in, false),
        norm_out(op.elements(), op.channels, op.gamma_out, false),
        q_weight(op.features, op.channels, op.q),
        k_weight(op.features, op.channels, op.k),
        mix_transposed(op.heads * op.channels, op.channels),
        q(op.features, op.positions),
        change(op.features, kPositions),
        grad_y(op.positions, op.channels),
        grad_y_columns(op.channels, op.positions),
        grad_mix(op.features, op.channels),
        grad_keyed(op.features, op.channels),
        grad_n(op.positions, op.channels),
        packed(op.elements()),
        product(op.features),
        x_buffer(buffer_size(op.x)),
        gradient_buffer(buffer_size(of.gradient)),
        grad_x_buffer(buffer_size(of.grad_x)) {
    for (int64_t h = 0; h < op.heads; ++h)
      for (int64_t i = 0; i < op.channels; ++i)
        for (int64_t j = 0; j < op.channels; ++j)
          mix_transposed.at(h * op.channels + i)[j] = op.mix[(h * op.channels + j) * op.channels + i];
  }

  // Adds the sums of an image to `partial` and `norms`.
  void image(int64_t index, float* partial, double* norms) const {
    const int64_t count = op.elements(), row = padded(op.channels);
    const float *x = read(op.x, index, x_buffer), *upstream = read(gradient.gradient, index, gradient_buffer);
    const Moments* moments = op.moments + 2 * index;
    float *of_q = partial, *of_k = of_q + op.features * row, *of_mix = of_k + op.features * row,
          *of_bias = of_mix + op.heads * op.channels * row,
          *grad_x = destination(gradient.grad_x, index, grad_x_buffer);
    attended.keys(x, moments[0]);
    attended.blocks([&](int64_t start, int64_t positions) {
      attended.queries(start, positions, q.at(0) + start, q.row);
    });
    attended.write(packed.values);
    norm_out.image(packed.values, upstream, moments[1], packed.values, norms + 2 * op.channels);
    grad_y.read(packed.values);
    grad_y_columns.read_transposed(packed.values);
    for (int64_t p = 0; p < op.positions; ++p)
      for (int64_t c = 0; c < op.channels; ++c) of_bias[c] += grad_y.at(p)[c];
    attended.blocks([&](int64_t start, int64_t positions) { through_queries(start, positions, of_q); });
    through_mix(of_mix);
    attended.blocks([&](int64_t start, int64_t positions) { through_keys(start, positions, of_k); });
    grad_n.write(packed.values);
    norm_in.image(x, packed.values, moments[0], grad_x, norms);
    each(count, [=](int64_t i) { grad_x[i] += upstream[i]; });
    write(gradient.grad_x, index, grad_x);
  }

  // At `count` positions from `start` on: adds to grad_mix and the gradient of q's weight, and sets grad_n.
  void through_queries(int64_t start, int64_t count, float* of_q) const {
    const float* block = q.at(0) + start;
    const Product to_mix{count, q.row, 1, grad_y.row, grad_mix.row, start > 0};
    matrix_product(to_mix, block, grad_y.at(start), grad_mix.at(0), op.features, op.channels);
    const Product to_q{op.channels, attended.mix.row, 1, grad_y_columns.row, change.row, false};
    matrix_product(to_q, attended.mix.at(0), grad_y_columns.at(0) + start, change.at(0), op.features, count);
    for (int64_t i = 0; i < count; i += kFloats) {
      for (int64_t f = 0; f < op.features; f += attended.head) {
        Floats sum = {};
        for (int64_t r = f; r < f + attended.head; ++r)
          sum += load(block + r * q.row + i) * load(change.at(r) + i);
        for (int64_t r = f; r < f + attended.head; ++r)
          store(change.at(r) + i, load(block + r * q.row + i) * (load(change.at(r) + i) - sum));
      }
    }
    to_weight(start, count, of_q);
    from_logits(q_weight, start, count, false);
  }

  // Sets grad_keyed, divided by the sums of k, and adds to the gradient of the mix.
  void through_mix(float* of_mix) const {
    const int64_t head = attended.head, channels = op.channels, row = padded(channels);
    for (int64_t h = 0; h < op.heads; ++h) {
      const float* upstream = grad_mix.at(h * head);
      const Product to_mix{head, 1, attended.keyed.row, grad_mix.row, row, true};
      matrix_product(to_mix, attended.keyed.at(h * head), upstream, of_mix + h * channels * row, channels,
                     channels);
      const Product to_keyed{channels, grad_mix.row, 1, mix_transposed.row, grad_keyed.row, false};
      matrix_product(to_keyed, upstream, mix_transposed.at(h * channels), grad_keyed.at(h * head), head,
                     channels);
    }
    attended.scale_rows(grad_keyed, attended.inverse.values);
    for (int64_t f = 0; f < op.features; ++f) {
      // Rounded as the product in through_keys, so that the two cancel where one position has all weight.
      const float *keyed = attended.keyed.at(f), *of_keyed = grad_keyed.at(f);
      Floats sum = {};
      for (int64_t c = 0; c < channels; ++c)
        sum = multiply_add(broadcast(of_keyed[c]), broadcast(keyed[c]), sum);
      memcpy(product.values + f, &sum, sizeof(float));
    }
  }

  // At `count` positions from `start` on: adds to the gradient of k's weight and to grad_n.
  void through_keys(int64_t start, int64_t count, float* of_k) const {
    const Rows& k = attended.k;
    const Product to_k{op.channels, grad_keyed.row, 1, attended.columns.row, change.row, false};
    matrix_product(to_k, grad_keyed.at(0), attended.columns.at(0) + start, change.at(0), op.features, count);
    for (int64_t f = 0; f < op.features; ++f) {
      const Floats sum = broadcast(product.values[f]);
      for (int64_t i = 0; i < count; i += kFloats)
        store(change.at(f) + i, load(k.at(f) + start + i) * (load(change.at(f) + i) - sum));
    }
    to_weight(start, count, of_k);
    from_logits(k_weight, start, count, true);
    const Product to_n{op.features, 1, k.row, grad_keyed.row, grad_n.row, true};
    matrix_product(to_n, k.at(0) + start, grad_keyed.at(0), grad_n.at(start), count, op.channels);
  }

  // Adds change·n to a weight's gradient.
  void to_weight(int64_t start, int64_t count, float* of_weight) const {
    const Product product{count, change.row, 1, attended.n.row, padded(op.channels), true};
    matrix_product(product, change.at(0), attended.n.at(start), of_weight, op.features, op.channels);
  }

  void from_logits(const Rows& weight, int64_t start, int64_t count, bool add) const {
    const Product product{op.features, 1, change.row, weight.row, grad_n.row, add};
    matrix_product(product, change.at(0), weight.at(0), grad_n.at(start), count, op.channels);
  }
};

// For each of the parts [first, last) of kImagesPerPart images: the gradient of x, and partial sums of the
// gradients of the weights.
void linear_attention_gradient(const LinearAttentionGradient& op, int64_t first, int64_t last) {
  const AttendedGradient backward(op);
  for (int64_t part = first; part < last; ++part) {
    float* partial = op.partial + part * op.part_size();
    double* norms = op.norms + part * 4 * op.attention.channels;
    memset(partial, 0, static_cast<size_t>(op.part_size()) * sizeof(float));
    for (int64_t c = 0; c < 4 * op.attention.channels; ++c) norms[c] = 0;
    const int64_t end = smaller((part + 1) * kImagesPerPart, op.attention.images);
    for (int64_t image = part * kImagesPerPart; image < end; ++image) backward.image(image, partial, norms);
  }
}
