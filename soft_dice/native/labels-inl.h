// Labels and pixel weights of any type, checked, and brought into the type of the prediction.
#pragma once

#include <float.h>

#include "kernels.h"

namespace soft_dice {
namespace {

// Labels are compared as they are where they are floating, else as integers that hold them.
template <class L> struct Compared { typedef int32_t type; };
template <> struct Compared<float> { typedef float type; };
template <> struct Compared<double> { typedef double type; };
template <> struct Compared<int64_t> { typedef int64_t type; };

struct Found {
  bool bad, ignored;
};

// Class indices as T, -1 where ignored; mask is 0 there and 1 elsewhere.  A function of its own:
// where the compiler knows too much about has_ignore, it makes branches of it and no vectors of the
// rest.
template <class T, class L, class Wide>
__attribute__((noinline)) Found read_index(const L *__restrict from, int n, Wide limit,
                                           int has_ignore, Wide ignore, T shift,
                                           T *__restrict label, T *__restrict mask) {
  int bad = 0, ignored = 0;
  for (int i = 0; i < n; ++i) {
    const Wide v = from[i];
    const Wide not_negative = v >= 0 ? v : 0;
    const Wide inside = not_negative < limit ? not_negative : 0;
    const int32_t whole = static_cast<int32_t>(inside);
    const int good = static_cast<Wide>(whole) == v, skip = has_ignore & (v == ignore);
    const T index = static_cast<T>(whole) - shift;
    bad |= (good | skip) ^ 1;
    ignored |= skip;
    label[i] = (good & (skip ^ 1)) ? index : T(-1);
    mask[i] = static_cast<T>(skip ^ 1);
  }
  return {bad != 0, ignored != 0};
}

template <class T, class L>
Found read_index(const soft_dice_batch &batch, const soft_dice_settings &settings, int64_t first,
                 int n, T *label, T *mask) {
  typedef typename Compared<L>::type Wide;
  const Wide limit = static_cast<Wide>(batch.classes < 2 ? 2 : batch.classes);
  const Wide ignore = static_cast<Wide>(settings.ignore_label);
  const T shift = batch.classes == 1 ? 1 : 0;  // one channel: its own label is 1
  return read_index<T, L, Wide>(static_cast<const L *>(batch.label) + first, n, limit,
                                settings.has_ignore != 0, ignore, shift, label, mask);
}

// Dense labels, 0 where ignored; at[i] is where pixel i's value lies, or i where at is NULL.
template <class T, class L, class Wide>
__attribute__((noinline)) Found read_dense(const L *__restrict from, const int64_t *at, int n,
                                           int has_ignore, Wide ignore, T *__restrict label,
                                           T *__restrict mask) {
  int bad = 0, ignored = 0;
  const auto read = [&](int i, Wide v) {
    const int skip = has_ignore & (v == ignore);
    const T value = static_cast<T>(v);
    bad |= (((v >= 0) & (v <= 1)) | skip) ^ 1;
    ignored |= skip;
    label[i] = skip ? T(0) : value;
    mask[i] = static_cast<T>(skip ^ 1);
  };
  if (at)
    for (int i = 0; i < n; ++i) read(i, from[at[i]]);
  else
    for (int i = 0; i < n; ++i) read(i, from[i]);
  return {bad != 0, ignored != 0};
}

template <class T, class L>
Found read_dense(const soft_dice_batch &batch, const soft_dice_settings &settings,
                 const int64_t *at, int64_t offset, int n, T *label, T *mask) {
  typedef typename Compared<L>::type Wide;
  return read_dense<T, L, Wide>(static_cast<const L *>(batch.label) + offset, at, n,
                                settings.has_ignore != 0,
                                static_cast<Wide>(settings.ignore_label), label, mask);
}

// Pixel weights; false where one is not finite or negative.
template <class T, class L>
bool read_weight(const soft_dice_batch &batch, int64_t first, int n, T *weight) {
  const L *from = static_cast<const L *>(batch.weight) + first;
  int bad = 0;
  for (int i = 0; i < n; ++i) {
    const double v = static_cast<double>(from[i]);
    bad |= !((v >= 0) & (v <= DBL_MAX));
    weight[i] = static_cast<T>(v);
  }
  return bad == 0;
}

// The functions above for the type of the batch's label or pixel weight.
#define SOFT_DICE_BY_TYPE(function, type, ...)                           \
  switch (type) {                                                        \
    case SOFT_DICE_FLOAT32: return function<T, float>(__VA_ARGS__);      \
    case SOFT_DICE_FLOAT64: return function<T, double>(__VA_ARGS__);     \
    case SOFT_DICE_INT8: return function<T, int8_t>(__VA_ARGS__);        \
    case SOFT_DICE_UINT8: return function<T, uint8_t>(__VA_ARGS__);      \
    case SOFT_DICE_INT16: return function<T, int16_t>(__VA_ARGS__);      \
    case SOFT_DICE_INT32: return function<T, int32_t>(__VA_ARGS__);      \
    default: return function<T, int64_t>(__VA_ARGS__);                   \
  }

template <class T>
Found read_index(const soft_dice_batch &batch, const soft_dice_settings &settings, int64_t first,
                 int n, T *label, T *mask) {
  SOFT_DICE_BY_TYPE(read_index, batch.label_type, batch, settings, first, n, label, mask)
}

template <class T>
Found read_dense(const soft_dice_batch &batch, const soft_dice_settings &settings,
                 const int64_t *at, int64_t offset, int n, T *label, T *mask) {
  SOFT_DICE_BY_TYPE(read_dense, batch.label_type, batch, settings, at, offset, n, label, mask)
}

template <class T>
bool read_weight(const soft_dice_batch &batch, int64_t first, int n, T *weight) {
  SOFT_DICE_BY_TYPE(read_weight, batch.weight_type, batch, first, n, weight)
}

#undef SOFT_DICE_BY_TYPE

}  // namespace
}  // namespace soft_dice
