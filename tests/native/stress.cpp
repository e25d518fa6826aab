// The kernels under a sanitizer: every setting on awkward shapes, on 1 to 5 OpenMP threads, from
// several threads at once, and after a fork.  Prints what differs and returns 1.
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"

#if defined(__SANITIZE_THREAD__)
constexpr bool CAN_FORK = false;  // ThreadSanitizer itself does not survive it
#else
constexpr bool CAN_FORK = true;
#endif

std::atomic<int> failures(0);

void expect(bool good, const std::string &what) {
  if (!good && ++failures < 20) fprintf(stderr, "%s\n", what.c_str());
}

constexpr int VARIANTS = 96;  // of the Dice alone; as many with a cross-entropy, twice

// A batch that owns its arrays, each exactly as long as it must be, so that one step beyond is seen.
struct Example {
  soft_dice_batch batch;
  soft_dice_settings settings;
  std::vector<float> floats, weights;
  std::vector<double> doubles;
  std::vector<int32_t> indices;
  std::vector<float> dense;
  std::vector<double> class_weights;

  Example(int64_t samples, int64_t outer, int64_t classes, int64_t inner, int variant) {
    std::mt19937 random(variant);
    const int64_t pixels = samples * outer * inner, size = pixels * classes;
    const bool is_double = variant % 2, weighted = variant / 2 % 2;
    settings = {variant / 4 % 3, variant / 12 % 2, variant / 24 % 2, variant / 48 % 2, 255,
                1 + 0.5 * (variant % 5), 0, nullptr, 0, 0};
    if (classes == 1 && settings.activation == SOFT_DICE_SOFTMAX)
      settings.activation = SOFT_DICE_SIGMOID;  // the other's gradient is 0 but for rounding
    if (variant >= VARIANTS) add_entropy(variant);
    std::uniform_real_distribution<float> uniform(0, 1);
    const bool ignores = settings.has_ignore;
    for (int64_t i = 0; i < size; ++i) {
      const float z = settings.activation == SOFT_DICE_NONE ? uniform(random)
                                                            : 8 * uniform(random) - 4;
      if (is_double) doubles.push_back(z); else floats.push_back(z);
      if (settings.dense_label) dense.push_back(ignores && z > 0.9f ? 255 : uniform(random));
    }
    for (int64_t i = 0; i < pixels; ++i) {
      if (!settings.dense_label)
        indices.push_back(ignores && i % 7 == 0 ? 255 : int(random() % (classes < 2 ? 2 : classes)));
      if (weighted) weights.push_back(i % 5 ? uniform(random) : 0);
    }
    batch = {samples, outer, classes, inner,
             is_double ? static_cast<const void *>(doubles.data()) : floats.data(),
             settings.dense_label ? static_cast<const void *>(dense.data()) : indices.data(),
             weighted ? weights.data() : nullptr,
             is_double ? SOFT_DICE_FLOAT64 : SOFT_DICE_FLOAT32,
             settings.dense_label ? SOFT_DICE_FLOAT32 : SOFT_DICE_INT32, SOFT_DICE_FLOAT32};
    for (int64_t c = 0; c < classes; ++c) class_weights.push_back(0.5 * (1 + c % 3));
    if (variant % 11 < 6) settings.entropy_weights = class_weights.data();
  }

  void add_entropy(int variant) {
    const double gammas[] = {0, 0, 0.5, 1, 2, 2.7, 0};
    settings.entropy = settings.activation != SOFT_DICE_NONE;
    settings.gamma = gammas[variant % 7];
    settings.smoothing = variant % 3 ? 0 : 0.125;
    if (variant >= 2 * VARIANTS) settings.exponent = 1, settings.overlap = SOFT_DICE_PRODUCT;
  }
};

struct Outcome {
  std::vector<double> counts, entropy, gradient;
};

template <class T> std::vector<double> gradient_of(const Example &example) {
  const soft_dice_batch &batch = example.batch;
  const int64_t of_sum = batch.samples * batch.classes;
  std::vector<double> d_counts(2 * of_sum);
  for (size_t i = 0; i < d_counts.size(); ++i) d_counts[i] = 1.0 / (1 + i);
  const std::vector<double> ones(batch.samples, 1.0);
  const double *const d_entropy = example.settings.entropy ? ones.data() : nullptr;
  std::vector<T> gradient(of_sum * batch.outer * batch.inner, T(NAN));
  soft_dice_gradient(&batch, &example.settings, d_counts.data(), d_entropy, gradient.data(), 0);
  std::vector<T> twice(gradient);
  soft_dice_gradient(&batch, &example.settings, d_counts.data(), d_entropy, twice.data(), 1);
  for (size_t i = 0; i < gradient.size(); ++i)
    expect(twice[i] == 2 * gradient[i], "adding the gradient is not adding it");
  return std::vector<double>(gradient.begin(), gradient.end());
}

Outcome run(const Example &example) {
  Outcome outcome;
  char message[200] = "";
  outcome.counts.resize(3 * example.batch.samples * example.batch.classes);
  if (example.settings.entropy) outcome.entropy.resize(2 * example.batch.samples);
  const int status = soft_dice_count(&example.batch, &example.settings, outcome.counts.data(),
                                     outcome.entropy.data(), message, sizeof message);
  expect(status == 0, std::string("refused: ") + message);
  outcome.gradient = example.batch.pred_type == SOFT_DICE_FLOAT32 ? gradient_of<float>(example)
                                                                  : gradient_of<double>(example);
  return outcome;
}

bool same(const Outcome &a, const Outcome &b) {
  return a.counts == b.counts && a.entropy == b.entropy && a.gradient == b.gradient;
}

double distance(const std::vector<double> &a, const std::vector<double> &b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += a[i] * a[i];
  }
  return size ? sqrt(difference / size) : difference;
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names(1);
  for (const char *c = soft_dice_instruction_sets(); *c; ++c)
    if (*c == ',') names.emplace_back(); else names.back() += *c;
  return names;
}

void every_setting() {
  const int64_t shapes[][4] = {{1, 1, 1, 1}, {2, 1, 3, 65}, {1, 70, 5, 1}, {2, 3, 4, 130},
                               {1, 1, 2, 4200}, {1, 1, 150, 70}, {3, 5, 1, 7}};
  for (const auto &shape : shapes) {
    const bool large = shape[0] * shape[1] * shape[2] * shape[3] > 5000;
    for (int variant = 0; variant < 3 * VARIANTS; variant += large ? 7 : 1) {
      const Example example(shape[0], shape[1], shape[2], shape[3], variant);
      const double close = example.batch.pred_type == SOFT_DICE_FLOAT32 ? 1e-5 : 1e-12;
      Outcome first;
      for (const std::string &name : instruction_sets()) {
        soft_dice_use(name.c_str());
        omp_set_num_threads(1);
        const Outcome alone = run(example);
        omp_set_num_threads(2 + variant % 4);
        expect(same(alone, run(example)), "depends on the number of threads");
        if (first.counts.empty()) first = alone;
        expect(distance(first.counts, alone.counts) <= close &&
                   distance(first.entropy, alone.entropy) <= close &&
                   distance(first.gradient, alone.gradient) <= close,
               name + " differs from the first, variant " + std::to_string(variant) + " with " +
                   std::to_string(shape[2]) + " classes");
      }
    }
  }
  soft_dice_use(instruction_sets().front().c_str());
}

void refusals() {
  Example example(2, 1, 3, 9000, 0);
  example.indices[9000 + 4321] = 3;
  char message[200];
  std::vector<double> counts(3 * 2 * 3);
  const int status = soft_dice_count(&example.batch, &example.settings, counts.data(), nullptr,
                                     message, sizeof message);
  expect(status == 1 && strstr(message, "got 3 in sample 1, pixel 4321 of 9000"), message);
}

void several_threads_at_once() {
  const Example example(2, 1, 4, 20000, 2 * VARIANTS);
  const Outcome alone = run(example);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      omp_set_num_threads(2);
      for (int repeat = 0; repeat < 5; ++repeat)
        expect(same(alone, run(example)), "differs between threads");
    });
  for (std::thread &thread : threads) thread.join();
}

void after_a_fork() {
  const Example example(2, 1, 4, 20000, 0);
  omp_set_num_threads(3);
  const Outcome parent = run(example);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(same(parent, run(example)) && soft_dice_threads() == 1 ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  expect(status == 0, "the child of a fork differs, hangs or uses threads");
}

int main() {
  every_setting();
  refusals();
  several_threads_at_once();
  if (CAN_FORK) after_a_fork();
  printf("%d failures with %s\n", failures.load(), soft_dice_instruction_sets());
  return failures != 0;
}
