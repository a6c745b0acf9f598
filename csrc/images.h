// One image at a time as floats, whose rounding to bfloat16 is the only one in a kernel. The kernels compute
// in the tensors' own memory if it holds floats, else in a buffer. Needs: loops.h (each).

// The floats that a buffer for an image needs.
inline int64_t buffer_size(const Images& images) { return images.narrow ? images.elements : 0; }

inline const float* read(const Images& images, int64_t image, const Scratch& buffer) {
  const int64_t offset = image * images.elements;
  if (!images.narrow) return static_cast<const float*>(images.data) + offset;
  const auto* narrow = static_cast<const uint16_t*>(images.data) + offset;
  float* to = buffer.values;
  each(images.elements, [=](int64_t i) { to[i] = from_bfloat16(narrow[i]); });
  return to;
}

// Memory to compute an image in. If it is the buffer, `write` copies it from there.
inline float* destination(const Images& images, int64_t image, const Scratch& buffer) {
  return images.narrow ? buffer.values : static_cast<float*>(images.data) + image * images.elements;
}

inline void write(const Images& images, int64_t image, const float* values) {
  if (!images.narrow) return;
  auto* narrow = static_cast<uint16_t*>(images.data) + image * images.elements;
  each(images.elements, [=](int64_t i) { narrow[i] = to_bfloat16(values[i]); });
}
