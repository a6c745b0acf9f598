// Minimal filtering of bfloat16 images where the processor multiplies pairs of bfloat16 numbers: the values
// at the points are rounded to bfloat16, and products are summed in float32. Needs: winograd.h, AVX-512.

// The bits of values, rounded so that the upper half of each is bfloat16. Ties are rounded away from zero.
inline Words32 upper_rounded(Floats value) {
  Words32 bits;
  memcpy(&bits, &value, sizeof bits);
  return bits + 0x8000u;
}

// Values at the 36 points, [36][rows][padded(channels)] in bfloat16: pairs of neighbouring channels.
struct RoundedValues {
  using Number = uint16_t;
  static constexpr int64_t per_step = 2;
  int64_t row, point;
  Scratch scratch;

  RoundedValues(int64_t rows, int64_t channels)
      : row(padded(channels)), point((rows + 1) * row + 32), scratch(kPoints * point / 2) {}

  uint16_t* at(int p, int64_t r) const {
    return reinterpret_cast<uint16_t*>(scratch.values) + p * point + r * row;
  }
  void put(int p, int64_t r, int64_t channel, Floats value) const {
    const Words16 narrow = converted<Words16>(upper_rounded(value) >> 16);
    memcpy(at(p, r) + channel, &narrow, sizeof narrow);
  }
};

// The same with pairs of neighbouring rows: [36][rows/2][padded(channels)][2]. A row that is missing is zero.
struct RowPairs : RoundedValues {
  using RoundedValues::RoundedValues;

  void put(int p, int64_t r, int64_t channel, Floats value) const {
    uint16_t* to = at(p, r / 2 * 2) + 2 * channel;
    Words32 bits = upper_rounded(value), first;
    if (r % 2) {
      memcpy(&first, to, sizeof first);
      bits = first | (bits & 0xFFFF0000u);
    } else {
      bits >>= 16;
    }
    memcpy(to, &bits, sizeof bits);
  }
};

// An odd number of channels would pair the last one with memory beyond its pixel.
inline bool takes_pairs(const Convolution& op) { return op.x.narrow && op.inputs % 2 == 0; }

// As weight_points, in pairs of inputs: [36][inputs/2][padded(outputs)][2].
void weight_point_pairs(const Convolution& op, int64_t first, int64_t last) {
  if (!takes_pairs(op)) return weight_points(op, first, last);
  auto* points = reinterpret_cast<uint16_t*>(op.points);
  each_weight_point(op, first, last, [&](int p, int64_t input, int64_t output, Floats u) {
    uint16_t values[kFloats];
    store(values, u);
    uint16_t* to = points + (p * op.inputs + input / 2 * 2) * padded(op.outputs) + 2 * output + input % 2;
    for (int64_t i = 0; i < kFloats; ++i) to[2 * i] = values[i];
  });
}

void convolve_pairs(const Convolution& op, int64_t first, int64_t last) {
  if (!takes_pairs(op)) return convolve(op, first, last);
  convolve_images<uint16_t, RoundedValues>(op, first, last);
}

void convolution_gradient_pairs(const ConvolutionGradient& op, int64_t first, int64_t last) {
  if (!op.gradient.narrow) return convolution_gradient(op, first, last);
  convolution_gradient_of<uint16_t, RowPairs>(op, first, last);
}
