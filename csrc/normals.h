// Blocks of normal numbers. Needs: Lanes, a vector of `Lanes::count` 64-bit words. No include guard: see
// philox.h.

#include "philox.h"

using Words = Lanes::Words;

// A source of noise and the keys of its generator, made once for all blocks.
struct Generator {
  const Noise& noise;
  const RoundKeys keys{noise.seed};
};

// The four words of each of the 32 counters from `first` on: words[k][lane]. A vector holds every other
// counter, so that two vectors combine into one of 32-bit words.
inline void random_words(uint32_t first, const Generator& generator, uint64_t id,
                         uint32_t (&words)[4][kLanes]) {
  constexpr int n = Lanes::interleaved, step = n * Lanes::count;
  for (int lane = 0; lane < kLanes; lane += step) {
    Words c[4][n];
    DDPMX_UNROLL
    for (int i = 0; i < n; ++i) {
      c[0][i] = Lanes::even() + static_cast<uint64_t>(first + lane + i / 2 * 2 * Lanes::count + i % 2);
      c[1][i] = Words{} + static_cast<uint64_t>(generator.noise.stream);
      c[2][i] = Words{} + id;
      c[3][i] = Words{} + (id >> 32);
    }
    philox<Lanes>(c, generator.keys);
    DDPMX_UNROLL
    for (int k = 0; k < 4; ++k) {
      DDPMX_UNROLL
      for (int i = 0; i < n; i += 2) {
        const Words pair = (c[k][i] & 0xFFFFFFFFull) | (c[k][i + 1] << 32);
        memcpy(&words[k][lane + i * Lanes::count], &pair, sizeof pair);
      }
    }
  }
}

// The first `pairs` of a block's two pairs of words, as normal numbers: 64 elements each. Short passes: their
// chains of dependent operations overlap better than those of a single long pass.
template <int pairs>
DDPMX_NOINLINE void normal_block(const Generator& generator, int64_t sample, int64_t block, float* out) {
  const Noise& noise = generator.noise;
  const uint64_t id = noise.ids[sample * noise.id_stride];
  alignas(64) uint32_t words[4][kLanes];
  alignas(64) float k[pairs][kLanes], f[pairs][kLanes];
  random_words(static_cast<uint32_t>(block) * kLanes, generator, id, words);
  for (int pair = 0; pair < pairs; ++pair)
    for (int lane = 0; lane < kLanes; ++lane) split(words[2 * pair][lane], k[pair][lane], f[pair][lane]);
  for (int pair = 0; pair < pairs; ++pair)
    for (int lane = 0; lane < kLanes; ++lane) f[pair][lane] = squared_radius(k[pair][lane], f[pair][lane]);
  for (int pair = 0; pair < pairs; ++pair) {
    float *cosine = out + 2 * pair * kLanes, *sine = cosine + kLanes;
    DDPMX_INDEPENDENT
    for (int lane = 0; lane < kLanes; ++lane)
      on_circle(f[pair][lane], words[2 * pair + 1][lane], cosine[lane], sine[lane]);
  }
}

// Draws blocks, the last one perhaps half: the buffer has room beyond `count`.
inline void make_noise(const Generator& generator, int64_t sample, int64_t first, int count, float* out) {
  for (int block = 0; block < count; block += kBlock) {
    const auto draw = count - block > kBlock / 2 ? normal_block<2> : normal_block<1>;
    draw(generator, sample, (first + block) / kBlock, out + block);
  }
}
