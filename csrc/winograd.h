// 3×3 convolutions of stride 1 with a margin of zeros, and their weight gradient, by minimal filtering. A
// tile of 4×4 results takes 36 products per pair of channels instead of 144. Tiles, weights and results are
// transformed to values of polynomials at six points per side. There a convolution is a product: one matrix
// product over the channels for each of the 36 points. Needs: floats.h, points.h, matrix.h.

// Values at the 36 points: [36][rows][padded(channels)]. The offset between points is not a multiple of a
// page.
struct Values {
  using Number = float;
  static constexpr int64_t per_step = 1;  // factors of a matrix product that are multiplied at once
  int64_t row, point;
  Scratch scratch;

  Values(int64_t rows, int64_t channels)
      : row(padded(channels)), point(rows * row + 16), scratch(kPoints * point) {}

  float* at(int p, int64_t r) const { return scratch.values + p * point + r * row; }
  void put(int p, int64_t r, int64_t channel, Floats value) const { store(at(p, r) + channel, value); }
};

struct Tile {
  int64_t image, y, x;

  Tile(const Convolution& op, int64_t tile)
      : image(tile / op.tiles_per_image()),
        y(tile / op.tile_columns() % op.tile_rows() * kTile),
        x(tile % op.tile_columns() * kTile) {}
};

// Pixels [images, height, width, channels] of T, float or the bits of bfloat16. A whole vector of channels
// may be read at any pixel.
template <class T>
struct Image {
  const T* data;
  int64_t height, width, channels, last;
  Scratch edge;  // a pixel of zeros, and a copy of the last pixel, whose vectors would read beyond the tensor

  Image(const Convolution& op, const Images& from, int64_t count)
      : data(static_cast<const T*>(from.data)),
        height(op.height),
        width(op.width),
        channels(count),
        last(op.images * height * width - 1),
        edge(2 * padded(channels)) {
    const size_t row = padded(channels);
    memset(edge.values, 0, 2 * row * sizeof(float));
    memcpy(edges() + row, data + last * channels, channels * sizeof(T));
  }

  T* edges() const { return reinterpret_cast<T*>(edge.values); }

  // The channels of a pixel; zeros outside of the image.
  const T* at(int64_t image, int64_t y, int64_t x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return edges();
    const int64_t pixel = (image * height + y) * width + x;
    return pixel == last ? edges() + padded(channels) : data + pixel * channels;
  }
};

template <class T, class Points>
void tile_to_points(const Image<T>& image, const Tile& tile, const Points& to, int64_t row) {
  const T* pixel[6][6];
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) pixel[i][j] = image.at(tile.image, tile.y + i - 1, tile.x + j - 1);
  for (int64_t channel = 0; channel < image.channels; channel += kFloats) {
    Floats half[6][6], d[6], v[6];
    DDPMX_UNROLL
    for (int i = 0; i < 6; ++i) {
      DDPMX_UNROLL
      for (int j = 0; j < 6; ++j) d[j] = load(pixel[i][j] + channel);
      to_points(d, half[i]);
    }
    DDPMX_UNROLL
    for (int j = 0; j < 6; ++j) {
      DDPMX_UNROLL
      for (int i = 0; i < 6; ++i) d[i] = half[i][j];
      to_points(d, v);
      DDPMX_UNROLL
      for (int i = 0; i < 6; ++i) to.put(6 * i + j, row, channel, v[i]);
    }
  }
}

// Transforms the gradient of a tile's results to the points, and adds its sum over the tile to `sum`.
template <class T, class Points>
void gradient_tile_to_points(const Image<T>& image, const Tile& tile, const Points& to, int64_t row,
                             float* sum) {
  const T* pixel[4][4];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) pixel[i][j] = image.at(tile.image, tile.y + i, tile.x + j);
  for (int64_t channel = 0; channel < image.channels; channel += kFloats) {
    Floats half[4][6], y[4], v[6], total = load(sum + channel);
    DDPMX_UNROLL
    for (int i = 0; i < 4; ++i) {
      DDPMX_UNROLL
      for (int j = 0; j < 4; ++j) {
        y[j] = load(pixel[i][j] + channel);
        total += y[j];
      }
      gradient_to_points(y, half[i]);
    }
    store(sum + channel, total);
    DDPMX_UNROLL
    for (int j = 0; j < 6; ++j) {
      DDPMX_UNROLL
      for (int i = 0; i < 4; ++i) y[i] = half[i][j];
      gradient_to_points(y, v);
      DDPMX_UNROLL
      for (int i = 0; i < 6; ++i) to.put(6 * i + j, row, channel, v[i]);
    }
  }
}

inline void points_to_tile(const Values& from, int64_t row, int64_t channel, Floats (&y)[4][4]) {
  Floats half[4][6], v[6], four[4];
  DDPMX_UNROLL
  for (int j = 0; j < 6; ++j) {
    DDPMX_UNROLL
    for (int i = 0; i < 6; ++i) v[i] = load(from.at(6 * i + j, row) + channel);
    from_points(v, four);
    DDPMX_UNROLL
    for (int i = 0; i < 4; ++i) half[i][j] = four[i];
  }
  DDPMX_UNROLL
  for (int i = 0; i < 4; ++i) from_points(half[i], y[i]);
}

// Transforms the weights of the inputs [first, last), and calls put(point, input, output, values).
template <class Put>
void each_weight_point(const Convolution& op, int64_t first, int64_t last, Put put) {
  for (int64_t input = first; input < last; ++input) {
    for (int64_t output = 0; output < op.outputs; output += kFloats) {
      Floats w[3], u[6], half[3][6];
      const int64_t count = smaller(kFloats, op.outputs - output);
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
          float values[kFloats] = {};
          const float* from = op.weight + output * op.weight_output + input * op.weight_input +
                              i * op.weight_y + j * op.weight_x;
          for (int64_t c = 0; c < count; ++c) values[c] = from[c * op.weight_output];
          w[j] = load(values);
        }
        weight_to_points(w, half[i]);
      }
      for (int j = 0; j < 6; ++j) {
        for (int i = 0; i < 3; ++i) w[i] = half[i][j];
        weight_to_points(w, u);
        for (int i = 0; i < 6; ++i) put(6 * i + j, input, output, u[i]);
      }
    }
  }
}

// Transforms the weights of the inputs [first, last) into op.points [36][inputs][padded(outputs)].
void weight_points(const Convolution& op, int64_t first, int64_t last) {
  each_weight_point(op, first, last, [&](int p, int64_t input, int64_t output, Floats u) {
    store(op.points + (p * op.inputs + input) * padded(op.outputs) + output, u);
  });
}

// Writes those results of a tile that are inside the image.
template <class T>
void points_to_results(const Convolution& op, const Values& from, int64_t row, const Tile& tile) {
  const int64_t rows = smaller(kTile, op.height - tile.y), columns = smaller(kTile, op.width - tile.x);
  T* to = static_cast<T*>(op.out.data) + ((tile.image * op.height + tile.y) * op.width + tile.x) * op.outputs;
  for (int64_t channel = 0; channel < op.outputs; channel += kFloats) {
    Floats y[4][4], bias{};
    const int64_t count = smaller(kFloats, op.outputs - channel);
    if (op.bias) memcpy(&bias, op.bias + channel, count * sizeof(float));
    points_to_tile(from, row, channel, y);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) {
        T* target = to + (i * op.width + j) * op.outputs + channel;
        const Floats value = y[i][j] + bias;
        if (count == kFloats) {
          store(target, value);
        } else {
          T values[kFloats];
          store(values, value);
          for (int64_t c = 0; c < count; ++c) target[c] = values[c];
        }
      }
    }
  }
}

template <class T, class Points>
void convolve_images(const Convolution& op, int64_t first, int64_t last) {
  const Points inputs(kTilesPerChunk, op.inputs);
  const Values outputs(kTilesPerChunk, op.outputs);
  const Image<T> x(op, op.x, op.inputs);
  const int64_t row = padded(op.outputs), end = smaller(last * kTilesPerChunk, op.tiles());
  constexpr int64_t n = Points::per_step;
  const Product product{op.inputs / n, inputs.row, n, n * row, outputs.row, false};
  const auto* weights = reinterpret_cast<const typename Points::Number*>(op.points);
  for (int64_t start = first * kTilesPerChunk; start < end; start += kTilesPerChunk) {
    const int64_t count = smaller(kTilesPerChunk, end - start);
    for (int64_t r = 0; r < count; ++r) tile_to_points(x, Tile(op, start + r), inputs, r);
    for (int p = 0; p < kPoints; ++p)
      matrix_product(product, inputs.at(p, 0), weights + p * op.inputs * row, outputs.at(p, 0), count,
                     op.outputs);
    for (int64_t r = 0; r < count; ++r) points_to_results<T>(op, outputs, r, Tile(op, start + r));
  }
}

// Handles the chunks [first, last) of kTilesPerChunk tiles.
void convolve(const Convolution& op, int64_t first, int64_t last) {
  if (op.x.narrow) return convolve_images<uint16_t, Values>(op, first, last);
  convolve_images<float, Values>(op, first, last);
}

template <class T, class Points>
void convolution_gradient_of(const ConvolutionGradient& op, int64_t first, int64_t last) {
  const Convolution& shape = op.convolution;
  const Points inputs(kTilesPerChunk, shape.inputs), outputs(kTilesPerChunk, shape.outputs);
  const Values sums(shape.inputs, shape.outputs);
  constexpr int64_t n = Points::per_step;
  const Image<T> x(shape, shape.x, shape.inputs), gradient(shape, op.gradient, shape.outputs);
  for (int64_t part = first; part < last; ++part) {
    float *weight_sums = op.partial + part * op.part_size(),
          *bias_sums = weight_sums + 9 * shape.inputs * sums.row;
    memset(bias_sums, 0, sums.row * sizeof(float));
    const int64_t begin = part * op.tiles_per_part(),
                  end = smaller(begin + op.tiles_per_part(), shape.tiles());
    for (int64_t start = begin; start < end; start += kTilesPerChunk) {
      const int64_t count = smaller(kTilesPerChunk, end - start);
      for (int64_t r = 0; r < count; ++r) {
        const Tile tile(shape, start + r);
        tile_to_points(x, tile, inputs, r);
        gradient_tile_to_points(gradient, tile, outputs, r, bias_sums);
      }
      const Product product{(count + n - 1) / n, n, n * inputs.row, n * outputs.row, sums.row, start > begin};
      for (int p = 0; p < kPoints; ++p)
        matrix_product(product, inputs.at(p, 0), outputs.at(p, 0), sums.at(p, 0), shape.inputs,
                       shape.outputs);
    }
    for (int64_t input = 0; input < shape.inputs; ++input) {
      for (int64_t output = 0; output < shape.outputs; output += kFloats) {
        Floats half[3][6], u[6], w[3];
        for (int j = 0; j < 6; ++j) {
          for (int i = 0; i < 6; ++i) u[i] = load(sums.at(6 * i + j, input) + output);
          gradient_of_weight(u, w);
          for (int i = 0; i < 3; ++i) half[i][j] = w[i];
        }
        for (int i = 0; i < 3; ++i) {
          gradient_of_weight(half[i], w);
          for (int j = 0; j < 3; ++j)
            store(weight_sums + ((3 * i + j) * shape.inputs + input) * sums.row + output, w[j]);
        }
      }
    }
  }
}

// For each of the parts [first, last) of the tiles: partial sums of the gradients of the weight,
// [9][inputs][padded(outputs)], and of the bias.
void convolution_gradient(const ConvolutionGradient& op, int64_t first, int64_t last) {
  if (op.gradient.narrow) return convolution_gradient_of<uint16_t, Values>(op, first, last);
  convolution_gradient_of<float, Values>(op, first, last);
}
