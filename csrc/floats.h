// Vectors of `kFloats` floats, as wide as the level allows. Needs: Floats.

constexpr int kFloats = sizeof(Floats) / sizeof(float);

#ifdef __GNUC__
typedef uint32_t Words32 __attribute__((vector_size(sizeof(Floats))));  // the bits of Floats
#else
using Words32 = uint32_t;
#endif

inline Floats load(const float* from) {
  Floats value;
  memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Floats value) { memcpy(to, &value, sizeof value); }

inline Floats broadcast(float value) { return value - Floats{}; }

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
