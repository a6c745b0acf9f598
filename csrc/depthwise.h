// The weight gradient of a depthwise 7×7 convolution, which torch's own library is slow at: one channel a
// lane, so that every level adds in the same order. An image's channels are copied into a buffer with a
// margin of zeros first, `kFloats` of them at a time, whatever the tensor's layout is. Needs: floats.h.

constexpr int kNeighbours = 4;  // pixels of a row that share what is loaded

inline int64_t padded_width(int64_t width) { return (width + kNeighbours - 1) / kNeighbours * kNeighbours; }

// [height + 2·margin, padded_width(width) + 2·margin, kFloats], zero where there is no pixel or no channel.
struct Planes {
  int64_t margin, height, wide, count;
  Scratch scratch;

  Planes(const DepthwiseGradient& op, int64_t border)
      : margin(border),
        height(op.height),
        wide(padded_width(op.width) + 2 * border),
        count((height + 2 * margin) * wide * kFloats),
        scratch(count) {
    memset(scratch.values, 0, static_cast<size_t>(count) * sizeof(float));
  }

  float* row(int64_t y) const { return scratch.values + y * wide * kFloats; }

  void fill(const DepthwiseGradient& op, const Pixels& from, int64_t image, int64_t channel) {
    const int64_t count = smaller(kFloats, op.channels - channel);
    for (int64_t y = 0; y < height; ++y) {
      const int64_t place = image * from.stride[0] + channel * from.stride[1] + y * from.stride[2];
      float* to = row(y + margin) + margin * kFloats;
      for (int64_t x = 0; x < op.width; ++x, to += kFloats) {
        const int64_t at = place + x * from.stride[3];
        if (from.narrow) {
          const auto* source = static_cast<const uint16_t*>(from.data) + at;
          for (int64_t c = 0; c < kFloats; ++c)
            to[c] = c < count ? from_bfloat16(source[c * from.stride[1]]) : 0;
        } else if (from.stride[1] == 1 && count == kFloats) {
          memcpy(to, static_cast<const float*>(from.data) + at, sizeof(Floats));
        } else {
          const auto* source = static_cast<const float*>(from.data) + at;
          for (int64_t c = 0; c < kFloats; ++c) to[c] = c < count ? source[c * from.stride[1]] : 0;
        }
      }
    }
  }
};

// Of the parts [first, last) of kImages images: Σ gradient·x for each tap, then Σ gradient.
void depthwise_gradient(const DepthwiseGradient& op, int64_t first, int64_t last) {
  Planes x(op, kReach), gradient(op, 0);
  alignas(64) float total[kTaps + 1][kFloats];
  for (int64_t part = first; part < last; ++part) {
    const int64_t end = (part + 1) * kImages < op.images ? (part + 1) * kImages : op.images;
    for (int64_t channel = 0; channel < op.channels; channel += kFloats) {
      memset(total, 0, sizeof total);
      for (int64_t image = part * kImages; image < end; ++image) {
        x.fill(op, op.x, image, channel);
        gradient.fill(op, op.gradient, image, channel);
        for (int i = 0; i < kSide; ++i) {
          Floats sum[kSide] = {}, all = {};
          for (int64_t y = 0; y < op.height; ++y) {
            for (int64_t left = 0; left < op.width; left += kNeighbours) {
              const float *from = x.row(y + i) + left * kFloats, *by = gradient.row(y) + left * kFloats;
              DDPMX_UNROLL
              for (int r = 0; r < kNeighbours; ++r) {
                const Floats g = load(by + r * kFloats);
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
