// Cuts a batch into chunks, runs them on OpenMP's threads, and adds up what they found.
//
// The chunks, and the order in which their sums are added, depend on the shapes alone: the result is
// the same to the last bit whatever the number of threads.
#include "kernels.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "chunk.h"
#include "faults.h"

namespace soft_dice {
namespace {

constexpr int64_t CHUNK = 4096;       // pixels
constexpr int64_t SMALL = 1 << 15;    // numbers; less than this is not worth waking a thread
constexpr size_t ALIGNED = 64;

// ---- instruction sets ----

struct Choice {
  const InstructionSet *code;
  bool present;
};

#ifdef SOFT_DICE_HAVE_X86
// SOFT_DICE_MAX_ISA=avx2 in the environment hides what is better than AVX2, so that the tests can
// run as on a machine without it (`make test CPU=avx2`).
bool limited_to(const char *name) {
  const char *limit = getenv("SOFT_DICE_MAX_ISA");
  return limit && !strcmp(limit, name);
}
#endif

const Choice *choices(int *how_many) {
#ifdef SOFT_DICE_HAVE_X86
  static const bool has_avx2 = !limited_to("baseline") && __builtin_cpu_supports("avx2") &&
                               __builtin_cpu_supports("fma");
  static const bool has_avx512 =
      has_avx2 && !limited_to("avx2") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl");
  static const Choice all[] = {{&avx512, has_avx512}, {&avx2, has_avx2}, {&baseline, true}};
#else
  static const Choice all[] = {{&baseline, true}};
#endif
  *how_many = sizeof all / sizeof all[0];
  return all;
}

const InstructionSet *named(const char *name) {  // NULL: the best
  int how_many;
  const Choice *all = choices(&how_many);
  for (int i = 0; i < how_many; ++i)
    if (all[i].present && (!name || !strcmp(name, all[i].code->name))) return all[i].code;
  return nullptr;
}

std::atomic<const InstructionSet *> &in_use() {
  static std::atomic<const InstructionSet *> chosen(named(nullptr));
  return chosen;
}

// ---- threads ----

// GNU OpenMP waits for ever for threads that did not survive a fork: the child works alone.
std::atomic<bool> forked(false);

const int watching_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });

int threads_for(const soft_dice_batch &batch) {
  const int64_t numbers = batch.samples * batch.outer * batch.classes * batch.inner;
  return numbers < SMALL ? 1 : soft_dice_threads();
}

int64_t chunks_per_sample(const soft_dice_batch &batch) {
  return (batch.outer * batch.inner + CHUNK - 1) / CHUNK;
}

// Memory that is given back at the end of a scope; NULL where there is none.
struct Memory {
  explicit Memory(size_t bytes) {
    if (posix_memalign(&start, ALIGNED, bytes ? bytes : 1)) start = nullptr;
  }
  ~Memory() { free(start); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  void *start;
};

// work(chunk, number of chunk) for every chunk of the batch; false without memory.
template <class Work>
bool for_each_chunk(const soft_dice_batch &batch, const soft_dice_settings &settings,
                    const InstructionSet &code, Work work) {
  const int threads = threads_for(batch);
  const size_t per_thread = code.scratch_bytes(batch, settings);  // a multiple of ALIGNED
  const Memory scratch(threads * per_thread);
  if (!scratch.start) return false;
  const int64_t per_sample = chunks_per_sample(batch), pixels = batch.outer * batch.inner;
  const auto run = [&](int64_t number, int thread) {
    const int64_t begin = number % per_sample * CHUNK;
    work(Chunk{&batch, &settings, number / per_sample, begin, std::min(begin + CHUNK, pixels),
               static_cast<char *>(scratch.start) + thread * per_thread}, number);
  };
  const int64_t chunks = batch.samples * per_sample;
  if (threads == 1) {
    for (int64_t number = 0; number < chunks; ++number) run(number, 0);
    return true;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t number = 0; number < chunks; ++number) run(number, omp_get_thread_num());
  return true;
}

}  // namespace
}  // namespace soft_dice

using namespace soft_dice;

extern "C" {

int soft_dice_count(const soft_dice_batch *batch, const soft_dice_settings *settings,
                    double *counts, double *entropy, char *message, size_t message_size) {
  const int64_t chunks = batch->samples * chunks_per_sample(*batch);
  const int64_t of_counts = 3 * batch->classes, each = of_counts + 2;
  const InstructionSet &code = *in_use().load();
  const Memory memory(chunks * each * sizeof(double));
  double *partial = static_cast<double *>(memory.start);
  std::atomic<bool> good(true);
  const auto work = [&](const Chunk &chunk, int64_t number) {
    std::fill_n(partial + number * each, each, 0.0);
    if (!code.count(chunk, partial + number * each)) good = false;
  };
  if (!partial || !for_each_chunk(*batch, *settings, code, work)) return 2;
  if (!good) return describe_fault(*batch, *settings, message, message_size), 1;
  const int64_t of_sum = batch->samples * batch->classes;
  std::fill_n(counts, 3 * of_sum, 0.0);
  if (settings->entropy) std::fill_n(entropy, 2 * batch->samples, 0.0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t sample = chunk / chunks_per_sample(*batch), first = sample * batch->classes;
    const double *const sums = partial + chunk * each;
    for (int64_t i = 0; i < of_counts; ++i)
      counts[i / batch->classes * of_sum + first + i % batch->classes] += sums[i];
    for (int64_t i = 0; settings->entropy && i < 2; ++i)
      entropy[i * batch->samples + sample] += sums[of_counts + i];
  }
  return 0;
}

int soft_dice_gradient(const soft_dice_batch *batch, const soft_dice_settings *settings,
                       const double *d_counts, const double *d_entropy, void *gradient,
                       int32_t add) {
  const InstructionSet &code = *in_use().load();
  const auto work = [&](const Chunk &chunk, int64_t) {
    code.gradient(chunk, d_counts, d_entropy, gradient, add != 0);
  };
  return for_each_chunk(*batch, *settings, code, work) ? 0 : 2;
}

const char *soft_dice_instruction_sets(void) {
  static const std::string names = [] {
    std::string joined;
    int how_many;
    const Choice *all = choices(&how_many);
    for (int i = 0; i < how_many; ++i)
      if (all[i].present) joined += (joined.empty() ? "" : ",") + std::string(all[i].code->name);
    return joined;
  }();
  return names.c_str();
}

int soft_dice_use(const char *instruction_set) {
  const InstructionSet *code = named(instruction_set);
  if (code) in_use() = code;
  return code ? 0 : 1;
}

const char *soft_dice_instruction_set(void) { return in_use().load()->name; }

int soft_dice_threads(void) { return forked ? 1 : omp_get_max_threads(); }

}  // extern "C"
