// 3×3 convolutions of stride 1 with a margin of zeros, and their weight gradient, by minimal filtering: a
// tile of 4×4 results takes 36 products a pair of channels instead of 144. Tiles, weights and results become
// polynomials' values at six points a side, where a convolution is a product: a matrix product over the
// channels for each of the 36. Needs: floats.h, points.h, matrix.h.

// Values at the 36 points: [36][rows][padded(channels)], the points a little apart from multiples of a page.
struct Values {
  int64_t row, point;
  Scratch scratch;

  Values(int64_t rows, int64_t channels)
      : row(padded(channels)), point(rows * row + 16), scratch(kPoints * point) {}

  float* at(int p, int64_t r) const { return scratch.values + p * point + r * row; }
};

struct Tile {
  int64_t image, y, x;

  Tile(const Convolution& op, int64_t tile)
      : image(tile / op.tiles_of_image()),
        y(tile / op.across() % op.down() * kTile),
        x(tile % op.across() * kTile) {}
};

// Pixels [images, height, width, channels], of which a whole vector of channels may be read anywhere.
struct Image {
  const float* data;
  int64_t height, width, channels, last;
  Scratch spare;  // a pixel of zeros, and a copy of the last one, behind which no memory may be read

  Image(const Convolution& op, const float* from, int64_t count)
      : data(from),
        height(op.height),
        width(op.width),
        channels(count),
        last(op.images * height * width - 1),
        spare(2 * padded(channels)) {
    const size_t row = padded(channels);
    memset(spare.values, 0, 2 * row * sizeof(float));
    memcpy(spare.values + row, data + last * channels, channels * sizeof(float));
  }

  // Where the channels of a pixel are; zeros outside of the image.
  const float* at(int64_t image, int64_t y, int64_t x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return spare.values;
    const int64_t pixel = (image * height + y) * width + x;
    return pixel == last ? spare.values + padded(channels) : data + pixel * channels;
  }
};

void tile_to_points(const Image& image, const Tile& tile, const Values& to, int64_t row) {
  const float* pixel[6][6];
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
      for (int i = 0; i < 6; ++i) store(to.at(6 * i + j, row) + channel, v[i]);
    }
  }
}

// The gradient of a tile's results -> of the values that they are made of. Adds its sum over the tile.
void gradient_tile_to_points(const Image& image, const Tile& tile, const Values& to, int64_t row,
                             float* sum) {
  const float* pixel[4][4];
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
      for (int i = 0; i < 6; ++i) store(to.at(6 * i + j, row) + channel, v[i]);
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

// Of the inputs [first, last): op.points [36][inputs][padded(outputs)].
void weight_points(const Convolution& op, int64_t first, int64_t last) {
  const int64_t row = padded(op.outputs);
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
        for (int i = 0; i < 6; ++i) store(op.points + ((6 * i + j) * op.inputs + input) * row + output, u[i]);
      }
    }
  }
}

// Writes the results of a tile that lie in the image.
void points_to_results(const Convolution& op, const Values& from, int64_t row, const Tile& tile) {
  const int64_t down = smaller(kTile, op.height - tile.y), across = smaller(kTile, op.width - tile.x);
  float* to = op.out + ((tile.image * op.height + tile.y) * op.width + tile.x) * op.outputs;
  for (int64_t channel = 0; channel < op.outputs; channel += kFloats) {
    Floats y[4][4], bias{};
    const int64_t count = smaller(kFloats, op.outputs - channel);
    if (op.bias) memcpy(&bias, op.bias + channel, count * sizeof(float));
    points_to_tile(from, row, channel, y);
    for (int i = 0; i < down; ++i) {
      for (int j = 0; j < across; ++j) {
        float* place = to + (i * op.width + j) * op.outputs + channel;
        const Floats value = y[i][j] + bias;
        if (count == kFloats) {
          store(place, value);
        } else {
          float values[kFloats];
          store(values, value);
          for (int64_t c = 0; c < count; ++c) place[c] = values[c];
        }
      }
    }
  }
}

// The chunks [first, last) of kTiles tiles.
void convolve(const Convolution& op, int64_t first, int64_t last) {
  const Values before(kTiles, op.inputs), after(kTiles, op.outputs);
  const Image x(op, op.x, op.inputs);
  const int64_t row = padded(op.outputs), end = smaller(last * kTiles, op.tiles());
  const Product of_point{op.inputs, before.row, 1, row, after.row, false};
  for (int64_t start = first * kTiles; start < end; start += kTiles) {
    const int64_t count = smaller(kTiles, end - start);
    for (int64_t r = 0; r < count; ++r) tile_to_points(x, Tile(op, start + r), before, r);
    for (int p = 0; p < kPoints; ++p)
      matrix_product(of_point, before.at(p, 0), op.points + p * op.inputs * row, after.at(p, 0), count,
                     op.outputs);
    for (int64_t r = 0; r < count; ++r) points_to_results(op, after, r, Tile(op, start + r));
  }
}

// Of the parts [first, last) of the tiles: partial sums of the gradients of weight,
// [9][inputs][padded(outputs)], and bias.
void convolution_gradient(const ConvolutionGradient& op, int64_t first, int64_t last) {
  const Convolution& of = op.convolution;
  const Values before(kTiles, of.inputs), after(kTiles, of.outputs), sums(of.inputs, of.outputs);
  const Image x(of, of.x, of.inputs), gradient(of, op.gradient, of.outputs);
  for (int64_t part = first; part < last; ++part) {
    float *of_weight = op.partial + part * op.of_part(), *of_bias = of_weight + 9 * of.inputs * sums.row;
    memset(of_bias, 0, sums.row * sizeof(float));
    const int64_t begin = part * op.tiles_of_part(), end = smaller(begin + op.tiles_of_part(), of.tiles());
    for (int64_t start = begin; start < end; start += kTiles) {
      const int64_t count = smaller(kTiles, end - start);
      for (int64_t r = 0; r < count; ++r) {
        const Tile tile(of, start + r);
        tile_to_points(x, tile, before, r);
        gradient_tile_to_points(gradient, tile, after, r, of_bias);
      }
      const Product of_point{count, 1, before.row, after.row, sums.row, start > begin};
      for (int p = 0; p < kPoints; ++p)
        matrix_product(of_point, before.at(p, 0), after.at(p, 0), sums.at(p, 0), of.inputs, of.outputs);
    }
    for (int64_t input = 0; input < of.inputs; ++input) {
      for (int64_t output = 0; output < of.outputs; output += kFloats) {
        Floats half[3][6], u[6], w[3];
        for (int j = 0; j < 6; ++j) {
          for (int i = 0; i < 6; ++i) u[i] = load(sums.at(6 * i + j, input) + output);
          gradient_of_weight(u, w);
          for (int i = 0; i < 3; ++i) half[i][j] = w[i];
        }
        for (int i = 0; i < 3; ++i) {
          gradient_of_weight(half[i], w);
          for (int j = 0; j < 3; ++j)
            store(of_weight + ((3 * i + j) * of.inputs + input) * sums.row + output, w[j]);
        }
      }
    }
  }
}
