// Vectors of `kFloats` floats, as wide as the level allows. Needs: Floats.

constexpr int kFloats = sizeof(Floats) / sizeof(float);

inline Floats load(const float* from) {
  Floats value;
  memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Floats value) { memcpy(to, &value, sizeof value); }

inline Floats broadcast(float value) { return value - Floats{}; }

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
