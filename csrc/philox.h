// No include guard: each CPU level includes this file in its own namespace and compiles it for its own
// target.

// The keys of the ten rounds. Loops over many blocks make them once, and then only load them.
struct RoundKeys {
  uint64_t low[10], high[10];

  DDPMX_INLINE explicit RoundKeys(uint64_t key) {
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    DDPMX_UNROLL
    for (int round = 0; round < 10; ++round) {
      low[round] = k0;
      high[round] = k1;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
  }
};

// Philox4x32-10 (Salmon et al. 2011) on n vectors of counters, round by round, so that they overlap in the
// processor. c[0] ... c[3] hold the words of the counters and become the random words, each in the lower half
// of a 64-bit lane; the upper half is unused. `Lanes::multiply` multiplies lower halves to 64 bits.
template <class Lanes, int n>
DDPMX_INLINE void philox(typename Lanes::Words (&c)[4][n], const RoundKeys& keys) {
  DDPMX_UNROLL
  for (int round = 0; round < 10; ++round) {
    DDPMX_UNROLL
    for (int i = 0; i < n; ++i) {
      const typename Lanes::Words p = Lanes::multiply(c[0][i], 0xD2511F53u),
                                  q = Lanes::multiply(c[2][i], 0xCD9E8D57u);
      c[0][i] = (q >> 32) ^ (c[1][i] ^ keys.low[round]);
      c[2][i] = (p >> 32) ^ (c[3][i] ^ keys.high[round]);
      c[1][i] = q;
      c[3][i] = p;
    }
  }
}

// 63 random bits for each id: word 0 of counter 0, then word 1 without its last bit.
template <class Lanes>
DDPMX_INLINE typename Lanes::Words random_bits(typename Lanes::Words id, uint32_t stream, uint64_t seed) {
  using Words = typename Lanes::Words;
  Words c[4][1] = {{Words{}}, {Words{} + static_cast<uint64_t>(stream)}, {id}, {id >> 32}};
  philox<Lanes>(c, RoundKeys(seed));
  return (c[0][0] & 0xFFFFFFFFull) << 31 | (c[1][0] & 0xFFFFFFFFull) >> 1;
}
