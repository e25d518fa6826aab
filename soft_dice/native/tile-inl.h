// A tile as it is read from the batch: predictions, labels, pixel weights; checked.
#pragma once

#include "labels-inl.h"
#include "layout-inl.h"

namespace soft_dice {
namespace {

// The label g of one class, 0 where ignored.
template <class T> struct LabelOfClass {
  const T *dense;  // NULL where labels are indices
  const T *index;
  T klass;

  SOFT_DICE_INLINE Vec<T> at(int i) const {
    if (dense) return load(dense + i);
    return load(index + i) == splat(klass) ? splat<T>(1) : Vec<T>{};
  }
};

template <class T> struct Tile {
  static constexpr int LANES = Vector<T>::lanes;
  static constexpr int GROUP = Place<T>::GROUP;

  Tile(const Chunk &chunk, Scratch<T> &scratch)
      : chunk(chunk), batch(*chunk.batch), settings(*chunk.settings), classes(batch.classes),
        mask_per_class(settings.dense_label && settings.has_ignore), index(scratch.row()),
        dense(scratch.rows()), mask(mask_per_class ? scratch.rows() : Rows<T>{scratch.row(), 0}),
        gathered(scratch.rows()), pixel_weight(scratch.row()) {
    place.at = scratch.places();
  }
  bool open(int64_t first);
  int64_t end() const { return place.first + place.used; }

  bool softmax() const { return settings.activation == SOFT_DICE_SOFTMAX; }
  LabelOfClass<T> label(int64_t c) const {
    return {settings.dense_label ? dense[c] : nullptr, index, static_cast<T>(c)};
  }

  const Chunk &chunk;
  const soft_dice_batch &batch;
  const soft_dice_settings &settings;
  const int64_t classes;
  const bool mask_per_class;  // a dense label may be ignored in one class and count in another
  Place<T> place;
  Rows<const T> z;            // predictions, where they lie in the batch or gathered
  T *const index;             // labels that are indices: -1 where ignored and in the padding
  const Rows<T> dense;        // dense labels: 0 there
  const Rows<T> mask;         // m: the pixel weight, and 0 there
  bool masked;                // whether any m is not 1

 private:
  bool read_labels();
  bool read_weights();
  int64_t first_pixel() const {  // of the batch's
    return chunk.sample * batch.outer * batch.inner + place.first;
  }

  const Rows<T> gathered;
  T *const pixel_weight;
};

// Reads the pixels from `first` on; false where a value is not allowed.
template <class T> bool Tile<T>::open(int64_t first) {
  place.find(chunk, first);
  if (place.direct) {
    z = {static_cast<const T *>(batch.pred) + place.at[0], batch.inner};
  } else {
    place.gather(batch, gathered);
    z = {gathered.first, gathered.stride};
  }
  return read_labels() && read_weights();
}

template <class T> bool Tile<T>::read_labels() {
  masked = place.used < place.width || batch.weight;
  bool bad = false;
  for (int64_t c = 0; c < (settings.dense_label ? classes : 1); ++c) {
    T *const to = settings.dense_label ? dense[c] : index;
    const int64_t *const at = place.direct ? nullptr : place.at;
    const int64_t offset = c * batch.inner + (place.direct ? place.at[0] : 0);
    const Found found =
        settings.dense_label
            ? read_dense(batch, settings, at, offset, place.used, to, mask[c])
            : read_index(batch, settings, first_pixel(), place.used, to, mask[c]);
    bad |= found.bad;
    masked |= found.ignored;
    for (int i = place.used; i < place.width; ++i)
      to[i] = settings.dense_label ? 0 : -1, mask[c][i] = 0;
  }
  return !bad;
}

template <class T> bool Tile<T>::read_weights() {
  if (!batch.weight) return true;
  if (!read_weight(batch, first_pixel(), place.used, pixel_weight)) return false;
  for (int64_t c = 0; c < (mask_per_class ? classes : 1); ++c)
    for (int i = 0; i < place.used; ++i) mask[c][i] *= pixel_weight[i];
  return true;
}

}  // namespace
}  // namespace soft_dice
