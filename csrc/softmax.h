// Softmax over whole vectors. Needs: floats.h, multiply_add, norm.h (sum_of, gelu_constants.h).

// a, or b if it is larger; NaN in a stays NaN.
inline Floats larger(Floats a, Floats b) { return a < b ? b : a; }

// e^x for x <= 0. Below −87 it is e^−87, about 1.6e-38.
inline Floats exponential(Floats x) {
  constexpr float coefficients[] = DDPMX_EXP;
  constexpr int degree = sizeof coefficients / sizeof(float) - 1;
  x = larger(x, broadcast(-87.0f));
  const Floats shifted = x * 1.44269504f + 12582912.0f, k = shifted - 12582912.0f;  // rounded to an integer
  const Floats remainder = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  Floats power = broadcast(coefficients[degree]), scale;
  DDPMX_UNROLL
  for (int i = degree - 1; i >= 0; --i) power = multiply_add(power, remainder, broadcast(coefficients[i]));
  Words32 bits;  // of 2^k; the addition has left k in the lowest bits of `shifted`
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127u << 23);
  memcpy(&scale, &bits, sizeof scale);
  return power * scale;
}

// Softmax over `rows` rows of each column of a vector.
inline void softmax(float* values, int64_t rows, int64_t stride) {
  Floats top = load(values), sum = {};
  for (int64_t r = 1; r < rows; ++r) top = larger(top, load(values + r * stride));
  for (int64_t r = 0; r < rows; ++r) {
    const Floats power = exponential(load(values + r * stride) - top);
    store(values + r * stride, power);
    sum += power;
  }
  const Floats inverse = broadcast(1.0f) / sum;
  for (int64_t r = 0; r < rows; ++r) store(values + r * stride, load(values + r * stride) * inverse);
}

// Replaces a row, and what fills its last vector, by e^(value − maximum). Returns the sum over the row.
inline float exponentials(float* row, int64_t count) {
  const int64_t whole = count / kFloats * kFloats;
  float top = row[0];
  if (whole) {
    Floats tops = load(row);
    for (int64_t i = kFloats; i < whole; i += kFloats) tops = larger(tops, load(row + i));
    float lanes[kFloats];
    store(lanes, tops);
    for (const float lane : lanes) top = top < lane ? lane : top;
  }
  for (int64_t i = whole; i < count; ++i) top = top < row[i] ? row[i] : top;
  for (int64_t i = count; i % kFloats; ++i) row[i] = top;
  for (int64_t i = 0; i < count; i += kFloats) store(row + i, exponential(load(row + i) - top));
  return static_cast<float>(sum_of(count, [=](int64_t i) { return row[i]; }));
}
