// Between the driver (kernels.cpp), which cuts a batch into chunks and runs them on threads, and
// the code that works on one chunk (chunk.cpp), which is compiled once for each instruction set.
#pragma once

#include "kernels.h"

namespace soft_dice {

// Pixels [begin, end) of one sample.
struct Chunk {
  const soft_dice_batch *batch;
  const soft_dice_settings *settings;
  int64_t sample, begin, end;
  void *scratch;  // scratch_bytes() of it, aligned to 64, for this thread alone
};

struct InstructionSet {
  const char *name;
  // A multiple of 64.
  size_t (*scratch_bytes)(const soft_dice_batch &, const soft_dice_settings &);
  // Adds to sums: the counts (3, classes) and, where it is wanted, the cross-entropy (2); false
  // where a value is not allowed, wherever it is.
  bool (*count)(const Chunk &, double *sums);
  // All as in kernels.h.
  void (*gradient)(const Chunk &, const double *d_counts, const double *d_entropy, void *gradient,
                   bool add);
};

extern const InstructionSet baseline, avx2, avx512;  // the latter two on x86 only

}  // namespace soft_dice
