// Stages 1 and 3 of one chunk, tile by tile.  This file is compiled once for each instruction set.
//
// Begin with count_chunk() and differentiate_chunk() below, then see what Work does with each tile.
// The headers are one thing each:
//
//   vector-inl.h      vectors, and sums of them
//   elementary-inl.h  exp, log and powers
//   layout-inl.h      where numbers lie, in scratch and in the batch
//   labels-inl.h      labels and pixel weights of any type
//   tile-inl.h        the tile as it is read
//   activation-inl.h  p of z, and back
//   dice-inl.h        the counts, and their derivative
//   entropy-inl.h     the cross-entropy, and its derivative
//   common-inl.h      both of them in the common case, in fewer passes
#include "chunk.h"

#include "common-inl.h"
#include "dice-inl.h"
#include "entropy-inl.h"

namespace soft_dice {
namespace {

// All that a thread needs for one chunk.
template <class T> struct Work {
  Work(const Chunk &chunk, Scratch<T> &scratch)
      : tile(chunk, scratch), activation(tile, scratch), slopes(scratch),
        entropy(activation, scratch), common_entropy(entropy, scratch),
        any_entropy(entropy, scratch), common_dice(activation, slopes, scratch),
        any_dice(activation, slopes, scratch), d_z(scratch.rows()) {}

  bool count(double *sums);
  void gradient(T *gradient, bool add);

  Tile<T> tile;
  Activation<T> activation;
  CountSlopes<T> slopes;
  Entropy<T> entropy;
  CommonEntropy<T> common_entropy;
  AnyEntropy<T> any_entropy;
  CommonDice<T> common_dice;
  AnyDice<T> any_dice;
  const Rows<T> d_z;  // the tile's gradient, where it cannot be written to its place at once

 private:
  template <int ASSUMED> void count_common(double *sums);
  bool count_any(double *sums);
  template <int ASSUMED> void derive_common(Rows<T> to);
  void derive_any(Rows<T> to);
};

// sums: as InstructionSet's count.
template <class T> bool Work<T>::count(double *sums) {
  if (!is_common(tile.settings)) return count_any(sums);
  tile.masked ? count_common<NONE>(sums) : count_common<ALL_COUNT>(sums);
  return true;
}

template <class T> template <int ASSUMED> void Work<T>::count_common(double *sums) {
  double *const loss = sums + 3 * tile.classes, *const weight = loss + 1;
  if (!tile.settings.entropy) {
    activation.exponentials(NoTerm(), NoTerm());
    common_dice.template count<ASSUMED>(sums);
    return;
  }
  tile.settings.smoothing != 0
      ? activation.exponentials(NoTerm(), entropy.template see<GAP_SUM>())
      : activation.exponentials(NoTerm(), entropy.template see<LABEL_GAP>());
  common_entropy.template count<ASSUMED>(loss);
  common_dice.template count<ASSUMED>(sums);
  common_entropy.count_weight(common_dice.label_sums, weight);
}

// False where a prediction has no power k.
template <class T> bool Work<T>::count_any(double *sums) {
  tile.settings.entropy ? activation.forward(entropy.template see<LOG_SUM>())
                        : activation.forward(NoTerm());
  if (!any_dice.has_power()) return false;
  any_dice.count(sums);
  if (tile.settings.entropy) any_entropy.count(sums + 3 * tile.classes);
  return true;
}

// gradient: of all of pred.
template <class T> void Work<T>::gradient(T *gradient, bool add) {
  const bool in_place = tile.place.direct && !add;
  const Rows<T> to = in_place ? Rows<T>{gradient + tile.place.at[0], tile.batch.inner} : d_z;
  if (!is_common(tile.settings))
    derive_any(to);
  else if (tile.settings.entropy)
    tile.masked ? derive_common<NONE>(to) : derive_common<ALL_COUNT>(to);
  else
    tile.masked ? derive_common<DICE_ALONE>(to) : derive_common<ALL_COUNT | DICE_ALONE>(to);
  if (!in_place) tile.place.deliver(tile.batch, d_z, gradient, add);
}

template <class T> template <int ASSUMED> void Work<T>::derive_common(Rows<T> to) {
  if (ASSUMED & DICE_ALONE) {
    activation.exponentials(common_dice.template take_means<ASSUMED>(), NoTerm());
  } else {
    const bool needs_log = entropy.gamma != 0;
    activation.exponentials(common_dice.template take_means<ASSUMED>(),
                            entropy.template see<LABEL_GAP>(needs_log));
    common_entropy.derive(common_dice.means.mean);
  }
  common_dice.template derive<ASSUMED>(common_entropy, to);
}

template <class T> void Work<T>::derive_any(Rows<T> to) {
  const Rows<const T> d_p = {any_dice.d_p.first, any_dice.d_p.stride};
  if (tile.settings.entropy) {
    activation.forward(entropy.template see<LOG_SUM>());
    any_dice.derive();
    any_entropy.derive();
    tile.softmax() ? activation.backward(d_p, any_entropy.softmax, to)
                   : activation.backward(d_p, any_entropy.sigmoid, to);
  } else {
    activation.forward(NoTerm());
    any_dice.derive();
    activation.backward(d_p, NoTerm(), to);
  }
}

// ---- a chunk ----

template <class T>
size_t bytes_of_work(const soft_dice_batch &batch, const soft_dice_settings &settings) {
  const Chunk chunk = {&batch, &settings, 0, 0, 0, nullptr};
  Scratch<T> scratch(batch, nullptr);
  Work<T>(chunk, scratch);
  return scratch.bytes();
}

template <class T> bool count_chunk(const Chunk &chunk, double *sums) {
  Scratch<T> scratch(*chunk.batch, chunk.scratch);
  Work<T> work(chunk, scratch);
  work.entropy.start(nullptr);
  for (int64_t first = chunk.begin; first < chunk.end; first = work.tile.end())
    if (!work.tile.open(first) || !work.count(sums)) return false;
  return true;
}

template <class T>
void differentiate_chunk(const Chunk &chunk, const double *d_counts, const double *d_entropy,
                         void *gradient, bool add) {
  Scratch<T> scratch(*chunk.batch, chunk.scratch);
  Work<T> work(chunk, scratch);
  work.slopes.start(chunk, d_counts);
  work.entropy.start(d_entropy);
  for (int64_t first = chunk.begin; first < chunk.end; first = work.tile.end()) {
    work.tile.open(first);
    work.gradient(static_cast<T *>(gradient), add);
  }
}

bool is_float(const soft_dice_batch &batch) { return batch.pred_type == SOFT_DICE_FLOAT32; }

size_t scratch_bytes(const soft_dice_batch &batch, const soft_dice_settings &settings) {
  return is_float(batch) ? bytes_of_work<float>(batch, settings)
                         : bytes_of_work<double>(batch, settings);
}

bool count(const Chunk &chunk, double *sums) {
  return is_float(*chunk.batch) ? count_chunk<float>(chunk, sums)
                                : count_chunk<double>(chunk, sums);
}

void differentiate(const Chunk &chunk, const double *d_counts, const double *d_entropy,
                   void *gradient, bool add) {
  is_float(*chunk.batch) ? differentiate_chunk<float>(chunk, d_counts, d_entropy, gradient, add)
                         : differentiate_chunk<double>(chunk, d_counts, d_entropy, gradient, add);
}

}  // namespace

#define SOFT_DICE_NAME_OF(isa) #isa
#define SOFT_DICE_NAME(isa) SOFT_DICE_NAME_OF(isa)

const InstructionSet SOFT_DICE_ISA = {SOFT_DICE_NAME(SOFT_DICE_ISA), scratch_bytes, count,
                                      differentiate};

}  // namespace soft_dice
