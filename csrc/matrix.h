// Matrix products. The left matrix is read element by element; the right one and the result are padded to
// whole vectors. Needs: floats.h, multiply_add.

// c[rows, columns] = Σ_k a[row, k]·b[k, columns], or c += … if `add`. Strides in floats; `steps` counts k.
struct Product {
  int64_t steps, a_row, a_step, b_step, c_row;
  bool add;
};

template <int rows, int wide>
DDPMX_NOINLINE void product(const Product& p, const float* a, const float* b, float* c) {
  Floats sum[rows][wide];
  DDPMX_UNROLL
  for (int r = 0; r < rows; ++r) {
    DDPMX_UNROLL
    for (int w = 0; w < wide; ++w) sum[r][w] = p.add ? load(c + r * p.c_row + w * kFloats) : Floats{};
  }
  for (int64_t k = 0; k < p.steps; ++k, a += p.a_step, b += p.b_step) {
    Floats right[wide];
    DDPMX_UNROLL
    for (int w = 0; w < wide; ++w) right[w] = load(b + w * kFloats);
    DDPMX_UNROLL
    for (int r = 0; r < rows; ++r) {
      const Floats left = broadcast(a[r * p.a_row]);
      DDPMX_UNROLL
      for (int w = 0; w < wide; ++w) sum[r][w] = multiply_add(left, right[w], sum[r][w]);
    }
  }
  DDPMX_UNROLL
  for (int r = 0; r < rows; ++r) {
    DDPMX_UNROLL
    for (int w = 0; w < wide; ++w) store(c + r * p.c_row + w * kFloats, sum[r][w]);
  }
}

#ifdef DDPMX_PAIRS
// As the product of floats, of pairs of factors in each step.
template <int rows, int wide>
__attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16"))) DDPMX_NOINLINE void product(
    const Product& p, const uint16_t* a, const uint16_t* b, float* c) {
  __m512 sum[rows][wide];
  DDPMX_UNROLL
  for (int r = 0; r < rows; ++r) {
    DDPMX_UNROLL
    for (int w = 0; w < wide; ++w)
      sum[r][w] = p.add ? _mm512_loadu_ps(c + r * p.c_row + w * kFloats) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < p.steps; ++k, a += p.a_step, b += p.b_step) {
    __m512i right[wide];
    DDPMX_UNROLL
    for (int w = 0; w < wide; ++w) right[w] = _mm512_loadu_si512(b + 2 * w * kFloats);
    DDPMX_UNROLL
    for (int r = 0; r < rows; ++r) {
      int32_t pair;
      memcpy(&pair, a + r * p.a_row, sizeof pair);
      const __m512i left = _mm512_set1_epi32(pair);
      DDPMX_UNROLL
      for (int w = 0; w < wide; ++w)
        sum[r][w] = _mm512_dpbf16_ps(sum[r][w], (__m512bh)left, (__m512bh)right[w]);
    }
  }
  DDPMX_UNROLL
  for (int r = 0; r < rows; ++r) {
    DDPMX_UNROLL
    for (int w = 0; w < wide; ++w) _mm512_storeu_ps(c + r * p.c_row + w * kFloats, sum[r][w]);
  }
}
#endif

constexpr int kRows = 6;

template <int wide, class T>
void product_rows(const Product& p, const T* a, const T* b, float* c, int64_t rows) {
  static constexpr void (*few_rows[])(const Product&, const T*, const T*, float*) = {
      product<1, wide>, product<2, wide>, product<3, wide>, product<4, wide>, product<5, wide>};
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) product<kRows, wide>(p, a + r * p.a_row, b, c + r * p.c_row);
  if (r < rows) few_rows[rows - r - 1](p, a + r * p.a_row, b, c + r * p.c_row);
}

// T is float, or the bits of bfloat16 in pairs.
template <class T>
void matrix_product(const Product& p, const T* a, const T* b, float* c, int64_t rows, int64_t columns) {
  constexpr int64_t n = sizeof(float) / sizeof(T);
  int64_t column = 0;
  for (; column + kFloats < columns; column += 2 * kFloats)
    product_rows<2>(p, a, b + n * column, c + column, rows);
  if (column < columns) product_rows<1>(p, a, b + n * column, c + column, rows);
}
