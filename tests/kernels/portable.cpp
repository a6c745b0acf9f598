// Prints checksums of the scalar level's results, to compare compilers and processors.
#include <cstdio>
#include <vector>

#include "levels.h"

int main() {
  using namespace ddpmx;
  const int64_t samples = 7, elements = 3001;
  std::vector<int64_t> ids(samples);
  for (int64_t i = 0; i < samples; ++i) ids[i] = (i << 40) + 12345 * i;
  std::vector<float> noise(samples * elements), x(samples * elements), signal(samples), sigma(samples);
  Noise source;
  source.ids = ids.data();
  source.id_stride = 1;
  source.seed = 0xFEDCBA9876543210u;
  source.stream = 0xDEADBEEFu;
  int count;
  const Level& level = cpu::levels(count)[0];
  const Batch batch{samples, elements};
  level.normal(Normal{batch, noise.data(), source}, 0, items(batch));
  AddNoise op;
  op.batch = batch;
  op.x.data = op.out.data = x.data();
  op.x.batch_stride = op.out.batch_stride = elements;
  op.signal = PerSample{nullptr, 0, 0.75f};
  op.sigma = PerSample{nullptr, 0, 0.3f};
  op.noise = source;
  for (int64_t i = 0; i < samples * elements; ++i) x[i] = static_cast<float>(i % 1000) / 512.0f - 1.0f;
  level.add_noise(op, 0, items(batch));
  for (const auto& values : {noise, x}) {
    int64_t sum = 0;
    for (int64_t i = 0; i < samples * elements; ++i)
      sum += static_cast<int64_t>(bits_of(values[i])) * (i % 9973 + 1);
    std::printf("%lld\n", static_cast<long long>(sum));
  }
  std::printf("%s\n", level.name);
}
