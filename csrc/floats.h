// Vectors of `kFloats` floats, as wide as the level allows, read from float32 or bfloat16 and rounded to it.
// Needs: Floats.

constexpr int kFloats = sizeof(Floats) / sizeof(float);

#ifdef __GNUC__
typedef uint32_t Words32 __attribute__((vector_size(sizeof(Floats))));  // the bits of Floats
typedef uint16_t Words16 __attribute__((vector_size(sizeof(Floats) / 2)));
template <class To, class From>
inline To converted(From words) {
  return __builtin_convertvector(words, To);
}
#else
using Words32 = uint32_t;
using Words16 = uint16_t;
template <class To, class From>
inline To converted(From words) {
  return static_cast<To>(words);
}
#endif

inline Floats load(const float* from) {
  Floats value;
  memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Floats value) { memcpy(to, &value, sizeof value); }

// As from_bfloat16 and to_bfloat16.
inline Floats load(const uint16_t* from) {
  Words16 narrow;
  memcpy(&narrow, from, sizeof narrow);
  const Words32 bits = converted<Words32>(narrow) << 16;
  Floats value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline void store(uint16_t* to, Floats value) {
  Words32 bits;
  memcpy(&bits, &value, sizeof bits);
  const Words32 rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16, quiet = Words32{} + 0x7FC0u;
  const Words16 narrow = converted<Words16>((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
  memcpy(to, &narrow, sizeof narrow);
}

inline Floats broadcast(float value) { return value - Floats{}; }

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
