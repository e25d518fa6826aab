// How a tile lies in memory: its rows in a thread's scratch, and its pixels in the batch.
//
// A tile is a few hundred pixels of one sample by all classes, small enough to stay in the
// processor's cache from the first look at a logit to the last.  It has a row for each class.
#pragma once

#include "chunk.h"
#include "vector-inl.h"

namespace soft_dice {
namespace {

constexpr int64_t WIDEST = 256;          // pixels of a tile
constexpr int64_t TILE_BYTES = 1 << 17;  // of its prediction, where WIDEST would be more
constexpr int64_t NARROWEST = 64;
constexpr int64_t ALIGNED = 64;          // bytes

template <class T> int64_t most_pixels(const soft_dice_batch &batch) {
  const int64_t row_bytes = batch.classes * static_cast<int64_t>(sizeof(T));
  const int64_t fits = TILE_BYTES / row_bytes / NARROWEST * NARROWEST;
  return fits < NARROWEST ? NARROWEST : fits > WIDEST ? WIDEST : fits;
}

// A row for each class.
template <class T> struct Rows {
  T *first;
  int64_t stride;  // 0 where one row serves all classes

  SOFT_DICE_INLINE T *operator[](int64_t c) const { return first + c * stride; }
};

// Hands out a thread's scratch.  Without memory it only adds up what is asked for.
template <class T> class Scratch {
 public:
  Scratch(const soft_dice_batch &batch, void *memory)
      : memory_(static_cast<char *>(memory)), classes_(batch.classes),
        // no power of 2, or rows share cache sets
        stride_(most_pixels<T>(batch) + ALIGNED / sizeof(T)) {}

  size_t bytes() const { return taken_; }
  T *row() { return take<T>(stride_); }  // one number for each pixel
  Rows<T> rows() { return {take<T>(classes_ * stride_), stride_}; }
  template <class N = T> N *numbers(int64_t more = 0) {  // one for each class, and more
    return take<N>(classes_ + more);
  }
  int64_t *places() { return take<int64_t>(stride_); }

 private:
  template <class N> N *take(int64_t number) {
    const size_t at = taken_;
    taken_ += (number * sizeof(N) + ALIGNED - 1) / ALIGNED * ALIGNED;
    return memory_ ? reinterpret_cast<N *>(memory_ + at) : nullptr;
  }

  char *const memory_;
  const int64_t classes_, stride_;
  size_t taken_ = 0;
};

// Pixels [first, first + used) of a sample, and where the first class of each lies in pred.
template <class T> struct Place {
  static constexpr int GROUP = Vector<T>::lanes * UNROLLED;

  int64_t first;
  int used, width;  // pixels; the same, padded to whole groups
  bool direct;      // whether the pixels of a class lie side by side, so that no copy is needed
  int64_t *at;      // of each pixel, in the padding of the first; where direct, of that alone

  void find(const Chunk &chunk, int64_t from);
  void gather(const soft_dice_batch &batch, Rows<T> to) const;
  void deliver(const soft_dice_batch &batch, Rows<T> from, T *gradient, bool add) const;
};

// The pixels of the chunk from `from` on, as many as make one tile.
template <class T> void Place<T>::find(const Chunk &chunk, int64_t from) {
  const soft_dice_batch &batch = *chunk.batch;
  const int64_t inner = batch.inner, line = batch.classes * inner, most = most_pixels<T>(batch);
  const int64_t left = chunk.end - from < most ? chunk.end - from : most;
  const int64_t run = inner - from % inner;  // pixels beside each other
  const int64_t within = inner >= GROUP && left > run ? run : left;
  direct = within <= run && within >= GROUP;
  first = from;
  used = static_cast<int>(direct ? within / GROUP * GROUP : within);
  width = (used + GROUP - 1) / GROUP * GROUP;
  int64_t across = from % inner, start = (chunk.sample * batch.outer + from / inner) * line;
  at[0] = start + across;
  if (direct) return;
  for (int i = 0; i < used; ++i) {
    at[i] = start + across;
    if (++across == inner) across = 0, start += line;
  }
  for (int i = used; i < width; ++i) at[i] = at[0];
}

// The prediction, in rows; 0 in the padding.  A few pixels at a time: often there are few classes.
template <class T> void Place<T>::gather(const soft_dice_batch &batch, Rows<T> to) const {
  constexpr int FEW = 4;
  const T *const pred = static_cast<const T *>(batch.pred);
  const int64_t classes = batch.classes, inner = batch.inner;
  for (int i = 0; i < width; i += FEW) {
    const T *from[FEW];
    for (int k = 0; k < FEW; ++k) from[k] = pred + at[i + k];
    T *row = to.first + i;
    for (int64_t c = 0; c < classes; ++c, row += to.stride)
      for (int k = 0; k < FEW; ++k) row[k] = from[k][c * inner];
  }
  for (int64_t c = 0; c < classes; ++c)
    for (int i = used; i < width; ++i) to[c][i] = 0;
}

// The rows of the gradient, to where their pixels lie.
template <class T>
void Place<T>::deliver(const soft_dice_batch &batch, Rows<T> from, T *gradient, bool add) const {
  for (int64_t c = 0; c < batch.classes; ++c) {
    const T *const row = from[c];
    T *const to = gradient + c * batch.inner;
    for (int i = 0; i < used; ++i) {
      T &there = to[direct ? at[0] + i : at[i]];
      there = add ? there + row[i] : row[i];
    }
  }
}

}  // namespace
}  // namespace soft_dice
