// The common case, in few passes: a softmax, labels that are indices, the product and exponent 1.
//
// What dice-inl.h and entropy-inl.h do row by row is done here while the exponentials pass by, and
// in one pass more.  y is the label of a pixel, the only class that differs from the others there.
#pragma once

#include "dice-inl.h"
#include "entropy-inl.h"

namespace soft_dice {
namespace {

// Whether it is; with a cross-entropy that has focus or smoothing, but not both.
inline bool is_common(const soft_dice_settings &settings) {
  return settings.activation == SOFT_DICE_SOFTMAX && !settings.dense_label &&
         settings.overlap == SOFT_DICE_PRODUCT && settings.exponent == 1 &&
         !(settings.entropy && settings.smoothing != 0 && settings.gamma != 0);
}

// What else a routine may take for granted, as its template's argument.
enum Assumptions {
  NONE = 0,
  ALL_COUNT = 1,  // every m is 1: no pixel is ignored, weighed or padding
  DICE_ALONE = 2  // no cross-entropy is wanted
};

// ---- the cross-entropy ----

// weighted = m w_y.
template <class T>
__attribute__((noinline)) void weigh(const T *__restrict label, const T *__restrict mask,
                                     const T *__restrict weight, int n, T *__restrict weighted) {
  for (int i = 0; i < n; ++i) weighted[i] = mask[i] * weight[static_cast<int>(label[i])];
}

// E = sum m (label_share w_y q_y^gamma (-log p_y) + even_share sum_c w_c (-log p_c))
//
// Its derivative by z_c, with a = m d_E label_share w_y focal_slope(p_y) and
// b = m d_E even_share sum_c w_c, is (a + b) p_c - m d_E even_share w_c, and a less at c = y.
template <class T> struct CommonEntropy {
  typedef Vec<T> V;
  static constexpr int LANES = Tile<T>::LANES;

  CommonEntropy(const Entropy<T> &entropy, Scratch<T> &scratch)
      : entropy(entropy), tile(entropy.tile), scale(entropy.activation.scale), seen(entropy.seen),
        gamma(entropy.gamma), weighted(scratch.row()), mean_elsewhere(scratch.row()),
        label_slope(scratch.row()) {}

  template <int ASSUMED> void count(double *loss) const;
  void count_weight(const double *label_sums, double *weight) const;
  void derive(const T *mean) const;
  T even_slope(int64_t c) const {  // d_E even_share w_c
    return entropy.even_share * entropy.weight()[c] * entropy.d_loss;
  }

  const Entropy<T> &entropy;
  const Tile<T> &tile;
  const T *const scale;
  const Seen<T> seen;
  const T gamma;
  T *const weighted;        // m w_y, where classes have weights
  T *const mean_elsewhere;  // the Dice's mean - scale (a + b), for all classes but y
  T *const label_slope;     // (a + b) p_y - a = b p_y - a q_y

 private:
  const T *label_weight() const;
  SOFT_DICE_INLINE V label_loss(int i) const;
};

// m w_y, wherever that is.
template <class T> const T *CommonEntropy<T>::label_weight() const {
  if (!tile.settings.entropy_weights) return tile.mask[0];
  weigh(tile.index, tile.mask[0], entropy.weight(), tile.place.width, weighted);
  return weighted;
}

// q_y^gamma (-log p_y).
template <class T> SOFT_DICE_INLINE Vec<T> CommonEntropy<T>::label_loss(int i) const {
  const V gap = load(seen.label_gap + i), minus_log = load(seen.log_sum + i) - gap;
  if (gamma == 0) return minus_log;
  const V p = exponential(gap) * load(scale + i);
  return focus<T>(complement<T>(p, seen.rest + i), gamma) * minus_log;
}

// Adds E, after exponentials() that saw LABEL_GAP and, where labels are smoothed, GAP_SUM.
template <class T> template <int ASSUMED> void CommonEntropy<T>::count(double *loss) const {
  const T label_share = entropy.label_share, even_share = entropy.even_share;
  const T all_weights = entropy.all_weights;
  const T *const m_w = label_weight(), *const mask = tile.mask[0];
  Sum<T> sum;
  for (int i = 0; i < tile.place.width; i += LANES) {
    V each = times(label_share * load(m_w + i), label_loss(i));
    if (even_share != 0) {
      const V even = even_share * (all_weights * load(seen.log_sum + i) - load(seen.gap_sum + i));
      each += ASSUMED & ALL_COUNT ? even : load(mask + i) * even;
    }
    sum.add(ASSUMED & ALL_COUNT ? each : load(mask + i) > 0 ? each : V{});
  }
  *loss += sum.total();
}

// Adds W, of the tile's label_sum of each class.
template <class T>
void CommonEntropy<T>::count_weight(const double *label_sums, double *weight) const {
  for (int64_t c = 0; c < tile.classes; ++c) *weight += entropy.weight_of(c) * label_sums[c];
}

// mean_elsewhere and label_slope, after exponentials() that saw LABEL_GAP.
template <class T> void CommonEntropy<T>::derive(const T *mean) const {
  const T d_label = entropy.label_share * entropy.d_loss, gamma = this->gamma;
  const T d_even = entropy.even_share * entropy.all_weights * entropy.d_loss;
  const Seen<T> seen = this->seen;
  const T *const m_w = label_weight(), *const mask = tile.mask[0], *const scale = this->scale;
  T *const to = mean_elsewhere, *const to_label = label_slope;
  for (int i = 0; i < tile.place.width; i += LANES) {
    const V gap = load(seen.label_gap + i), p = exponential(gap) * load(scale + i);
    const V q = complement<T>(p, seen.rest + i), m_d = d_label * load(m_w + i);
    const V a = gamma == 0 ? m_d
                           : times(m_d, focal_slope<T>(p, q, load(seen.log_sum + i) - gap, gamma));
    const V b = d_even * load(mask + i);
    store(to + i, load(mean + i) - load(scale + i) * (a + b));
    store(to_label + i, b * p - a * q);
  }
}

// ---- the Dice ----

// s_c = d_pred_sum_c + [y = c] d_intersection_c, the derivative by p_c.
template <class T>
SOFT_DICE_INLINE Vec<T> slope_of(Vec<T> label, int64_t c, T d_intersection, T d_pred_sum) {
  return label == splat(static_cast<T>(c)) ? splat(d_intersection + d_pred_sum)
                                           : splat(d_pred_sum);
}

// Each a row, a number for each pixel.
template <class T> struct Means {
  T *m_scale;  // m / sum_c e_c; not with ALL_COUNT
  T *mean;     // m_scale sum_c p_c s_c
};

// Takes the means of the slopes while the exponentials e pass by.
template <class T, int ASSUMED> struct TakingMeans : NoTerm {
  SOFT_DICE_INLINE TakingMeans(const Tile<T> &tile, const CountSlopes<T> &slopes, Means<T> to)
      : index(tile.index), mask(tile.mask[0]), d_intersection(slopes.intersection),
        d_pred_sum(slopes.pred_sum), to(to) {}

  SOFT_DICE_INLINE void start(int i) {
    for (int u = 0; u < UNROLLED; ++u) {
      label[u] = load(index + i + u * Vector<T>::lanes);
      sum_e_s[u] = Vec<T>{};
    }
  }
  SOFT_DICE_INLINE void add(int u, int64_t c, Vec<T>, Vec<T> e) {
    sum_e_s[u] += e * slope_of<T>(label[u], c, d_intersection[c], d_pred_sum[c]);
  }
  SOFT_DICE_INLINE void finish(int u, int at, Vec<T>, Vec<T> scale) {
    const Vec<T> m_scale = ASSUMED & ALL_COUNT ? scale : load(mask + at) * scale;
    if (!(ASSUMED & ALL_COUNT)) store(to.m_scale + at, m_scale);
    store(to.mean + at, m_scale * (scale * sum_e_s[u]));
  }

  const T *const index, *const mask, *const d_intersection, *const d_pred_sum;
  const Means<T> to;
  Vec<T> label[UNROLLED], sum_e_s[UNROLLED];
};

template <class T> struct CommonDice {
  typedef Vec<T> V;
  static constexpr int LANES = Tile<T>::LANES, GROUP = Tile<T>::GROUP;

  CommonDice(const Activation<T> &softmax, const CountSlopes<T> &slopes, Scratch<T> &scratch)
      : softmax(softmax), tile(softmax.tile), slopes(slopes),
        label_sums(scratch.template numbers<double>()), means{scratch.row(), scratch.row()} {}

  template <int ASSUMED> void count(double *counts) const;
  template <int ASSUMED> TakingMeans<T, ASSUMED> take_means() const {
    return {tile, slopes, means};
  }
  template <int ASSUMED> void derive(const CommonEntropy<T> &entropy, Rows<T> d_z) const;

  const Activation<T> &softmax;
  const Tile<T> &tile;
  const CountSlopes<T> &slopes;
  double *const label_sums;  // of the tile, by each class
  const Means<T> means;
};

// Adds to counts, and leaves label_sums, after exponentials().  Along a row each lane sums its few
// pixels as they are; from there on sums are in double.
template <class T> template <int ASSUMED> void CommonDice<T>::count(double *counts) const {
  const T *const scale = softmax.scale, *const mask = tile.mask[0], *const index = tile.index;
  const int width = tile.place.width;
  const int64_t classes = tile.classes;
  for (int64_t c = 0; c < classes; ++c) {
    const T *const e = softmax.e[c];
    const V klass = splat(static_cast<T>(c)), one = splat<T>(1);
    V intersection[UNROLLED] = {}, pred_sum[UNROLLED] = {}, label_sum[UNROLLED] = {};
    for (int i = 0; i < width; i += GROUP)
      for (int u = 0; u < UNROLLED; ++u) {
        const int at = i + u * LANES;
        const V p = load(e + at) * load(scale + at);
        const V m = ASSUMED & ALL_COUNT ? one : load(mask + at);
        const V m_p = ASSUMED & ALL_COUNT ? p : m > 0 ? m * p : V{};
        const auto here = load(index + at) == klass;
        pred_sum[u] += m_p;
        intersection[u] = here ? intersection[u] + m_p : intersection[u];
        label_sum[u] = here ? label_sum[u] + m : label_sum[u];
      }
    label_sums[c] = sum_of<T>(label_sum);
    counts[c] += sum_of<T>(intersection);
    counts[classes + c] += sum_of<T>(pred_sum);
    counts[2 * classes + c] += label_sums[c];
  }
}

// d_z = m p_c (s_c - sum_j p_j s_j) and what the cross-entropy adds, after exponentials() that took
// the means and, with a cross-entropy, after its derive().
template <class T> template <int ASSUMED>
void CommonDice<T>::derive(const CommonEntropy<T> &entropy, Rows<T> d_z) const {
  constexpr bool ALL = ASSUMED & ALL_COUNT, ENTROPY = !(ASSUMED & DICE_ALONE);
  const T *const mean = means.mean, *const scale = ALL ? softmax.scale : means.m_scale;
  const T *const elsewhere = entropy.mean_elsewhere, *const label_slope = entropy.label_slope;
  const T *const index = tile.index, *const mask = tile.mask[0];
  const int width = tile.place.width;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const T *const e = softmax.e[c];
    T *const to = d_z[c];
    const T d_intersection = slopes.intersection[c], d_pred_sum = slopes.pred_sum[c];
    const T even = ENTROPY ? entropy.even_slope(c) : 0;
    for (int i = 0; i < width; i += LANES) {
      const V label = load(index + i), m = ALL ? splat<T>(1) : load(mask + i);
      const auto here = label == splat(static_cast<T>(c));
      const V s = slope_of<T>(label, c, d_intersection, d_pred_sum);
      const V pull = ENTROPY ? here ? load(mean + i) : load(elsewhere + i) : load(mean + i);
      const V dice = load(e + i) * (load(scale + i) * s - pull);
      const V both = ENTROPY ? dice + (here ? load(label_slope + i) : V{}) - m * even : dice;
      store(to + i, ALL ? both : m > 0 ? both : V{});
    }
  }
}

}  // namespace
}  // namespace soft_dice
