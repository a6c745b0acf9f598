// Minimal filtering (Winograd 1980; Lavin & Gray 2016, arXiv:1509.09308) along one side of a tile. Input,
// filter and results are polynomials, given by their values at the six points 0, ±a, ±b and ∞. The points
// ±3/4 and ±3/2 have smaller rounding errors than the usual ±1 and ±2. Needs: floats.h.

constexpr float kA = 0.75f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;

// Six inputs d of one side of a tile -> their values v at the points.
inline void to_points(const Floats (&d)[6], Floats (&v)[6]) {
  const Floats even_a = d[4] - kB2 * d[2], odd_a = kA * (d[3] - kB2 * d[1]);
  const Floats even_b = d[4] - kA2 * d[2], odd_b = kB * (d[3] - kA2 * d[1]);
  v[0] = kA2 * kB2 * d[0] - (kA2 + kB2) * d[2] + d[4];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = kA2 * kB2 * d[1] - (kA2 + kB2) * d[3] + d[5];
}

// Values v at the points -> four results y.
inline void from_points(const Floats (&v)[6], Floats (&y)[4]) {
  const Floats even_a = v[1] + v[2], odd_a = v[1] - v[2], even_b = v[3] + v[4], odd_b = v[3] - v[4];
  y[0] = v[0] + even_a + even_b;
  y[1] = kA * odd_a + kB * odd_b;
  y[2] = kA2 * even_a + kB2 * even_b;
  y[3] = kA2 * kA * odd_a + kB2 * kB * odd_b + v[5];
}

// The transpose of from_points: gradients of the four results -> gradients of the values.
inline void gradient_to_points(const Floats (&y)[4], Floats (&v)[6]) {
  const Floats even_a = y[0] + kA2 * y[2], odd_a = kA * (y[1] + kA2 * y[3]);
  const Floats even_b = y[0] + kB2 * y[2], odd_b = kB * (y[1] + kB2 * y[3]);
  v[0] = y[0];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = y[3];
}

// Π (p − q) over the other finite points q, for p = 0, ±a, ±b: the divisors of a weight's values.
constexpr float kDivisor0 = kA2 * kB2, kDivisorA = 2 * kA2 * (kA2 - kB2), kDivisorB = 2 * kB2 * (kB2 - kA2);

inline void weight_to_points(const Floats (&w)[3], Floats (&u)[6]) {
  const Floats even_a = (w[0] + kA2 * w[2]) / kDivisorA, odd_a = kA * w[1] / kDivisorA;
  const Floats even_b = (w[0] + kB2 * w[2]) / kDivisorB, odd_b = kB * w[1] / kDivisorB;
  u[0] = w[0] / kDivisor0;
  u[1] = even_a + odd_a;
  u[2] = even_a - odd_a;
  u[3] = even_b + odd_b;
  u[4] = even_b - odd_b;
  u[5] = w[2];
}

inline void gradient_of_weight(const Floats (&u)[6], Floats (&w)[3]) {
  const Floats even_a = (u[1] + u[2]) / kDivisorA, odd_a = (u[1] - u[2]) / kDivisorA,
               even_b = (u[3] + u[4]) / kDivisorB, odd_b = (u[3] - u[4]) / kDivisorB;
  w[0] = u[0] / kDivisor0 + even_a + even_b;
  w[1] = kA * odd_a + kB * odd_b;
  w[2] = kA2 * even_a + kB2 * even_b + u[5];
}
