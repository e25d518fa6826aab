// The Dice of a tile, after soft_dice.counts: the counts, and their derivative.
#pragma once

#include "activation-inl.h"

namespace soft_dice {
namespace {

// Of the sample, by each class, in the type of the prediction.
template <class T> struct CountSlopes {
  explicit CountSlopes(Scratch<T> &scratch)
      : intersection(scratch.numbers()), pred_sum(scratch.numbers()) {}

  void start(const Chunk &chunk, const double *d_counts) const {
    const int64_t classes = chunk.batch->classes, samples = chunk.batch->samples;
    for (int64_t c = 0; c < classes; ++c) {
      intersection[c] = static_cast<T>(d_counts[chunk.sample * classes + c]);
      pred_sum[c] = static_cast<T>(d_counts[(samples + chunk.sample) * classes + c]);
    }
  }

  T *const intersection, *const pred_sum;
};

// The exponent k of a routine, where it is known when that is compiled.
enum Exponent { ANY_EXPONENT = 0, ONE = 1, TWO = 2 };

// p^(k-1).  A whole power is a product, also of a negative p; only p >= 0 has others.
template <Exponent K, class T> SOFT_DICE_INLINE Vec<T> power_below(Vec<T> p, T k) {
  if (K == ONE) return splat<T>(1);
  if (K == TWO) return p;
  const int64_t whole = k < T(int64_t{1} << 62) ? static_cast<int64_t>(k) : 0;
  if (static_cast<T>(whole) != k) return power<T>(p, k - 1);
  Vec<T> product = splat<T>(1), square = p;  // of the powers of two in k - 1
  for (int64_t rest = whole - 1; rest; rest /= 2, square *= square)
    if (rest % 2) product *= square;
  return product;
}

// As soft_dice.counts.overlap_of, and its derivative by p.
template <class V> SOFT_DICE_INLINE V l1_overlap(V p, V g) { return (p + g - absolute(p - g)) / 2; }

template <class V> SOFT_DICE_INLINE V l1_slope(V p, V g) {
  const V half = V{} + 0.5f, d = p - g;
  return d < 0 ? V{} + 1 : d > 0 ? V{} : d == 0 ? half : d;  // NaN stays
}

template <class T> struct AnyDice {
  typedef Vec<T> V;
  static constexpr int LANES = Tile<T>::LANES;

  AnyDice(const Activation<T> &activation, const CountSlopes<T> &slopes, Scratch<T> &scratch)
      : activation(activation), tile(activation.tile), slopes(slopes),
        k(static_cast<T>(tile.settings.exponent)),
        product(tile.settings.overlap == SOFT_DICE_PRODUCT), d_p(scratch.rows()) {}

  bool has_power() const;
  void count(double *counts) const;
  void derive() const;

  const Activation<T> &activation;
  const Tile<T> &tile;
  const CountSlopes<T> &slopes;
  const T k;
  const bool product;
  const Rows<T> d_p;

 private:
  template <Exponent K> void count_rows(double *counts) const;
  template <Exponent K> void derive_rows() const;
};

// A negative prediction has no fractional power.
template <class T> bool AnyDice<T>::has_power() const {
  const double exponent = tile.settings.exponent;
  const bool whole = exponent == static_cast<double>(static_cast<int64_t>(exponent));
  if (tile.settings.activation != SOFT_DICE_NONE || whole) return true;
  int negative = 0;
  for (int64_t c = 0; c < tile.classes; ++c)
    for (int i = 0; i < tile.place.width; ++i) negative |= activation.p[c][i] < 0;
  return !negative;
}

// Adds sum m p g, sum m p^k and sum m g^k to counts, after forward().
template <class T> void AnyDice<T>::count(double *counts) const {
  if (k == 1) count_rows<ONE>(counts);
  else if (k == 2) count_rows<TWO>(counts);
  else count_rows<ANY_EXPONENT>(counts);
}

template <class T> template <Exponent K> void AnyDice<T>::count_rows(double *counts) const {
  const int64_t classes = tile.classes;
  for (int64_t c = 0; c < classes; ++c) {
    const T *const p_row = activation.p[c], *const mask = tile.mask[c];
    const LabelOfClass<T> label = tile.label(c);
    Sum<T> intersection, pred_sum, label_sum;
    for (int i = 0; i < tile.place.width; i += LANES) {
      const V p = load(p_row + i), g = label.at(i), m = load(mask + i);
      intersection.add(m * (product ? p * g : l1_overlap(p, g)));
      pred_sum.add(m * p * power_below<K>(p, k));
      label_sum.add(m * g * (label.dense ? power_below<K>(g, k) : splat<T>(1)));
    }
    counts[c] += intersection.total();
    counts[classes + c] += pred_sum.total();
    counts[2 * classes + c] += label_sum.total();
  }
}

// d_p = m (d_intersection d(overlap)/dp + d_pred_sum k p^(k-1)), after forward().
template <class T> void AnyDice<T>::derive() const {
  if (k == 1) derive_rows<ONE>();
  else if (k == 2) derive_rows<TWO>();
  else derive_rows<ANY_EXPONENT>();
}

template <class T> template <Exponent K> void AnyDice<T>::derive_rows() const {
  const T k = this->k;
  const bool product = this->product;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const T *const p_row = activation.p[c], *const mask = tile.mask[c];
    const T d_intersection = slopes.intersection[c], d_pred_sum = slopes.pred_sum[c];
    const LabelOfClass<T> label = tile.label(c);
    T *const to = d_p[c];
    for (int i = 0; i < tile.place.width; i += LANES) {
      const V p = load(p_row + i), g = label.at(i), m = load(mask + i);
      const V d_overlap = product ? g : l1_slope(p, g);
      store(to + i, m * (d_intersection * d_overlap + d_pred_sum * k * power_below<K>(p, k)));
    }
  }
}

}  // namespace
}  // namespace soft_dice
