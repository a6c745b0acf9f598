// The weight gradient of a depthwise 7×7 convolution, which is slow in torch's own library. Each lane handles
// one channel, so that every level adds in the same order. `kFloats` channels of an image at a time are
// copied, from any layout, into a buffer with a margin of zeros. Needs: floats.h.

constexpr int kNeighbours = 4;  // pixels of a row that share loaded values

inline int64_t padded_width(int64_t width) { return (width + kNeighbours - 1) / kNeighbours * kNeighbours; }

// A buffer [height + 2·margin, padded_width(width) + 2·margin, kFloats], zero outside the image and its
// channels.
struct Planes {
  int64_t margin, height, row_width, count;
  Scratch scratch;

  Planes(const DepthwiseGradient& op, int64_t border)
      : margin(border),
        height(op.height),
        row_width(padded_width(op.width) + 2 * border),
        count((height + 2 * margin) * row_width * kFloats),
        scratch(count) {
    memset(scratch.values, 0, static_cast<size_t>(count) * sizeof(float));
  }

  float* row(int64_t y) const { return scratch.values + y * row_width * kFloats; }

  void fill(const DepthwiseGradient& op, const Pixels& from, int64_t image, int64_t channel) {
    const int64_t count = smaller(kFloats, op.channels - channel);
    for (int64_t y = 0; y < height; ++y) {
      const int64_t row_offset = image * from.stride[0] + channel * from.stride[1] + y * from.stride[2];
      float* to = row(y + margin) + margin * kFloats;
      for (int64_t x = 0; x < op.width; ++x, to += kFloats) {
        const int64_t offset = row_offset + x * from.stride[3];
        const bool whole = from.stride[1] == 1 && count == kFloats;
        if (from.narrow) {
          const auto* source = static_cast<const uint16_t*>(from.data) + offset;
          if (whole) store(to, load(source));
          for (int64_t c = 0; c < kFloats && !whole; ++c)
            to[c] = c < count ? from_bfloat16(source[c * from.stride[1]]) : 0;
        } else if (whole) {
          store(to, load(static_cast<const float*>(from.data) + offset));
        } else {
          const auto* source = static_cast<const float*>(from.data) + offset;
          for (int64_t c = 0; c < kFloats; ++c) to[c] = c < count ? source[c * from.stride[1]] : 0;
        }
      }
    }
  }
};

// For each of the parts [first, last) of kImagesPerPart images: Σ gradient·x for each tap, then Σ gradient.
void depthwise_gradient(const DepthwiseGradient& op, int64_t first, int64_t last) {
  Planes x(op, kRadius), gradient(op, 0);
  alignas(64) float total[kTaps + 1][kFloats];
  for (int64_t part = first; part < last; ++part) {
    const int64_t end = (part + 1) * kImagesPerPart < op.images ? (part + 1) * kImagesPerPart : op.images;
    for (int64_t channel = 0; channel < op.channels; channel += kFloats) {
      memset(total, 0, sizeof total);
      for (int64_t image = part * kImagesPerPart; image < end; ++image) {
        x.fill(op, op.x, image, channel);
        gradient.fill(op, op.gradient, image, channel);
        for (int i = 0; i < kSide; ++i) {
          Floats sum[kSide] = {}, all = {};
          for (int64_t y = 0; y < op.height; ++y) {
            for (int64_t left = 0; left < op.width; left += kNeighbours) {
              const float *from = x.row(y + i) + left * kFloats, *upstream = gradient.row(y) + left * kFloats;
              DDPMX_UNROLL
              for (int r = 0; r < kNeighbours; ++r) {
                const Floats g = load(upstream + r * kFloats);
                if (i == 0) all += g;
                DDPMX_UNROLL
                for (int j = 0; j < kSide; ++j) sum[j] += g * load(from + (j + r) * kFloats);
              }
            }
          }
          for (int j = 0; j < kSide; ++j) store(total[i * kSide + j], load(total[i * kSide + j]) + sum[j]);
          store(total[kTaps], load(total[kTaps]) + all);
        }
      }
      for (int64_t c = 0; c < kFloats && channel + c < op.channels; ++c)
        for (int tap = 0; tap <= kTaps; ++tap)
          op.partial[(part * op.channels + channel + c) * (kTaps + 1) + tap] = total[tap][c];
    }
  }
}
