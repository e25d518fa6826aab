// The cross-entropy of a tile, after soft_dice.entropy.
//
// With t = label_share g + even_share, q = 1 - p and w the weight of a class,
//
//   softmax: E = sum m w t q^gamma (-log p)
//   sigmoid: E = sum m w (t q^gamma (-log p) + (1 - t) p^gamma (-log q))
//
// Neither q nor a logarithm is taken of a p that was rounded.
#pragma once

#include "activation-inl.h"

namespace soft_dice {
namespace {

// ---- what it sees of a softmax's exponentials ----

// What is wanted; each wants also what is before it.
enum Wanted {
  LOG_SUM,    // rest and log_sum
  LABEL_GAP,  // label_gap
  GAP_SUM     // gap_sum
};

// Each a row, a number for each pixel.
template <class T> struct Seen {
  T *rest;       // 1 - max p
  T *log_sum;    // log sum_c e_c
  T *label_gap;  // z_y - max z of the label y
  T *gap_sum;    // sum_c w_c (z_c - max z)
};

// Where one e is 1 and the others are next to nothing, 1 + the others is 1: for -log p and 1 - p of
// that class the others are added up by themselves.  Where two are 1, nothing is lost.
template <class T, Wanted WANTED> struct Seeing : NoTerm {
  SOFT_DICE_INLINE Seeing(const T *index, const T *weight, const Seen<T> &seen, bool needs_log)
      : index(index), weight(weight), seen(seen), needs_log(needs_log) {}

  SOFT_DICE_INLINE void start(int i) {
    for (int u = 0; u < UNROLLED; ++u) {
      label[u] = load(index + i + u * Vector<T>::lanes);
      others[u] = label_gap[u] = gap_sum[u] = Vec<T>{};
    }
  }
  SOFT_DICE_INLINE void add(int u, int64_t c, Vec<T> gap, Vec<T> e) {
    others[u] += e < 1 ? e : Vec<T>{};
    if (WANTED >= LABEL_GAP)
      label_gap[u] = label[u] == splat(static_cast<T>(c)) ? gap : label_gap[u];
    if (WANTED >= GAP_SUM) gap_sum[u] += weight[c] * gap;
  }
  SOFT_DICE_INLINE void finish(int u, int at, Vec<T> sum, Vec<T> scale) {
    store(seen.rest + at, others[u] * scale);
    if (needs_log) store(seen.log_sum + at, logarithm_above<T>(others[u], sum, scale));
    if (WANTED >= LABEL_GAP) store(seen.label_gap + at, label_gap[u]);
    if (WANTED >= GAP_SUM) store(seen.gap_sum + at, gap_sum[u]);
  }

  const T *const index, *const weight;
  const Seen<T> seen;
  const bool needs_log;  // whether anybody reads log_sum
  Vec<T> label[UNROLLED], others[UNROLLED], label_gap[UNROLLED], gap_sum[UNROLLED];
};

// ---- formulas ----

// 1 - p of a softmax: p > 1/2 is the largest, and rest is known of that.
template <class T> SOFT_DICE_INLINE Vec<T> complement(Vec<T> p, const T *rest) {
  return p > T(0.5) ? load(rest) : 1 - p;
}

// a b, where 0 times infinity is 0.
template <class V> SOFT_DICE_INLINE V times(V a, V b) { return a == 0 ? V{} : a * b; }

// q^gamma.
template <class T> SOFT_DICE_INLINE Vec<T> focus(Vec<T> q, T gamma) {
  return gamma == 0 ? splat<T>(1) : gamma == 1 ? q : gamma == 2 ? q * q : power<T>(q, gamma);
}

// -p d/dp of q^gamma (-log p) = q^gamma (1 + gamma p r), r = (-log p) / q, which is 1 at p = 1.
template <class T>
SOFT_DICE_INLINE Vec<T> focal_slope(Vec<T> p, Vec<T> q, Vec<T> minus_log, T gamma) {
  if (gamma == 0) return splat<T>(1);
  const Vec<T> ratio = q == 0 ? splat<T>(1) : minus_log / q;
  return focus<T>(q, gamma) * (1 + gamma * times(p, ratio));
}

// ---- its settings, as T ----

template <class T> struct Entropy {
  Entropy(const Activation<T> &activation, Scratch<T> &scratch)
      : activation(activation), tile(activation.tile), settings(tile.settings),
        gamma(static_cast<T>(settings.gamma)),
        label_share(static_cast<T>(1 - settings.smoothing)),
        even_share(static_cast<T>(settings.smoothing / (tile.softmax() ? tile.classes : 2))),
        seen{scratch.row(), scratch.row(), scratch.row(), scratch.row()},
        weights(scratch.numbers(1)) {}

  // Before the first tile; in stage 1 d_entropy is NULL.
  void start(const double *d_entropy) {
    if (!settings.entropy) return;
    weights[0] = 0;
    all_weights = 0;
    for (int64_t c = 0; c < tile.classes; ++c)
      all_weights += weights[c + 1] = static_cast<T>(weight_of(c));
    d_loss = d_entropy ? static_cast<T>(d_entropy[tile.chunk.sample]) : 0;
  }

  double weight_of(int64_t c) const {
    return settings.entropy_weights ? settings.entropy_weights[c] : 1;
  }
  const T *weight() const { return weights + 1; }
  template <Wanted WANTED> Seeing<T, WANTED> see(bool needs_log = true) const {
    return {tile.index, weight(), seen, needs_log};
  }

  const Activation<T> &activation;
  const Tile<T> &tile;
  const soft_dice_settings &settings;
  const T gamma, label_share, even_share;
  const Seen<T> seen;
  T *const weights;  // 0 for a pixel without label, and w_c; weight()[-1] and weight()[c]
  T all_weights;     // sum_c w_c
  T d_loss;          // the derivative of E
};

// ---- any activation and labels ----

// The pixels of one class under a softmax; t as above.
template <class T> struct SoftmaxClass {
  SoftmaxClass(const Entropy<T> &entropy, int64_t c)
      : gamma(entropy.gamma), z(entropy.tile.z[c]), p(entropy.activation.p[c]),
        largest(entropy.activation.largest), rest(entropy.seen.rest),
        log_sum(entropy.seen.log_sum) {}

  // -log p.
  SOFT_DICE_INLINE Vec<T> minus_log(int i) const {
    return load(log_sum + i) - (load(z + i) - load(largest + i));
  }
  // t q^gamma (-log p).
  SOFT_DICE_INLINE Vec<T> loss(int i, Vec<T> t) const {
    return times(t, focus<T>(complement<T>(load(p + i), rest + i), gamma) * minus_log(i));
  }
  // Its derivative by log p.
  SOFT_DICE_INLINE Vec<T> slope(int i, Vec<T> t) const {
    if (gamma == 0) return -t;
    const Vec<T> q = complement<T>(load(p + i), rest + i);
    return times(-t, focal_slope<T>(load(p + i), q, minus_log(i), gamma));
  }
  // Its part of W, but for w.
  SOFT_DICE_INLINE Vec<T> weight(Vec<T> m, Vec<T> g) const { return m * g; }

  const T gamma, *const z, *const p, *const largest, *const rest, *const log_sum;
};

// The same under a sigmoid.
template <class T> struct SigmoidClass {
  SigmoidClass(const Entropy<T> &entropy, int64_t c)
      : gamma(entropy.gamma), z(entropy.tile.z[c]), tail(entropy.activation.tail[c]) {}

  // t q^gamma (-log p) + (1 - t) p^gamma (-log q).
  SOFT_DICE_INLINE Vec<T> loss(int i, Vec<T> t) const {
    const Pixels at(load(z + i), load(tail + i));
    if (gamma == 0) return times(t, at.minus_log_p()) + times(1 - t, at.minus_log_q());
    return times(t, focus<T>(at.q, gamma) * at.minus_log_p()) +
           times(1 - t, focus<T>(at.p, gamma) * at.minus_log_q());
  }
  // Its derivative by z.
  SOFT_DICE_INLINE Vec<T> slope(int i, Vec<T> t) const {
    const Pixels at(load(z + i), load(tail + i));
    if (gamma == 0) return (1 - t) * at.p - t * at.q;
    const Vec<T> of_q = at.p + gamma * times(at.q, at.minus_log_q());
    const Vec<T> of_p = at.q + gamma * times(at.p, at.minus_log_p());
    return (1 - t) * focus<T>(at.p, gamma) * of_q - t * focus<T>(at.q, gamma) * of_p;
  }
  SOFT_DICE_INLINE Vec<T> weight(Vec<T> m, Vec<T>) const { return m; }

  // With the tail e = exp(-|z|), -log p is log(1 + e) + max(-z, 0), and -log q the same of -z.
  struct Pixels {
    SOFT_DICE_INLINE Pixels(Vec<T> z, Vec<T> e)
        : z(z), e(e), sum(1 + e), scale(1 / sum), p(z >= 0 ? scale : e * scale),
          q(z >= 0 ? e * scale : scale) {}
    SOFT_DICE_INLINE Vec<T> minus_log_p() const { return both() + (z < 0 ? -z : Vec<T>{}); }
    SOFT_DICE_INLINE Vec<T> minus_log_q() const { return both() + (z > 0 ? z : Vec<T>{}); }
    SOFT_DICE_INLINE Vec<T> both() const { return logarithm_above<T>(e, sum, scale); }

    Vec<T> z, e, sum, scale, p, q;
  };

  const T gamma, *const z, *const tail;
};

// A softmax's part of d_z: q_c d_c - p_c sum_{j != c} d_j, d the derivative by log p.
template <class T> struct AddingSoftmax : NoTerm {
  SOFT_DICE_INLINE Vec<T> added_to(Vec<T> dice, int64_t c, int i, Vec<T> p) const {
    const Vec<T> d = load(d_log_p[c] + i);
    return dice + (complement<T>(p, rest + i) * d - p * (load(d_log_p_sum + i) - d));
  }

  Rows<T> d_log_p;
  T *d_log_p_sum;  // sum_c d_log_p_c
  T *rest;         // as Seen has it
};

// A sigmoid's.
template <class T> struct AddingSigmoid : NoTerm {
  SOFT_DICE_INLINE Vec<T> added_to(Vec<T> dice, int64_t c, int i, Vec<T>) const {
    return dice + load(d_z[c] + i);
  }

  Rows<T> d_z;
};

template <class T> struct AnyEntropy {
  typedef Vec<T> V;
  static constexpr int LANES = Tile<T>::LANES;

  AnyEntropy(const Entropy<T> &entropy, Scratch<T> &scratch)
      : entropy(entropy), tile(entropy.tile) {
    softmax.d_log_p = scratch.rows();
    softmax.d_log_p_sum = scratch.row();
    softmax.rest = entropy.seen.rest;
    sigmoid.d_z = scratch.rows();
  }

  // Adds E and W to sums, after forward() that saw LOG_SUM.
  void count(double *sums) const {
    tile.softmax() ? count_as<SoftmaxClass<T>>(sums) : count_as<SigmoidClass<T>>(sums);
  }
  void derive() const;

  const Entropy<T> &entropy;
  const Tile<T> &tile;
  AddingSoftmax<T> softmax;
  AddingSigmoid<T> sigmoid;

 private:
  template <class Class> void count_as(double *sums) const;
  template <class Class> void derive_as(Rows<T> to) const;
};

template <class T> template <class Class> void AnyEntropy<T>::count_as(double *sums) const {
  const T label_share = entropy.label_share, even_share = entropy.even_share;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const Class pixels(entropy, c);
    const LabelOfClass<T> label = tile.label(c);
    const T *const mask = tile.mask[c];
    Sum<T> loss, weight;
    for (int i = 0; i < tile.place.width; i += LANES) {
      const V m = load(mask + i), g = label.at(i);
      const V each = pixels.loss(i, label_share * g + even_share);
      loss.add(m > 0 ? m * each : V{});
      weight.add(pixels.weight(m, g));
    }
    sums[0] += entropy.weight_of(c) * loss.total();
    sums[1] += entropy.weight_of(c) * weight.total();
  }
}

// What is to be added, after forward() that saw LOG_SUM.
template <class T> void AnyEntropy<T>::derive() const {
  if (!tile.softmax()) return derive_as<SigmoidClass<T>>(sigmoid.d_z);
  derive_as<SoftmaxClass<T>>(softmax.d_log_p);
  T *const sum = softmax.d_log_p_sum;
  const int width = tile.place.width;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const T *const d = softmax.d_log_p[c];
    for (int i = 0; i < width; i += LANES) store(sum + i, (c ? load(sum + i) : V{}) + load(d + i));
  }
}

template <class T> template <class Class> void AnyEntropy<T>::derive_as(Rows<T> to) const {
  const T label_share = entropy.label_share, even_share = entropy.even_share;
  const int width = tile.place.width;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const Class pixels(entropy, c);
    const LabelOfClass<T> label = tile.label(c);
    const T *const mask = tile.mask[c];
    const V d_class = splat(entropy.d_loss * entropy.weight()[c]);
    T *const row = to[c];
    for (int i = 0; i < width; i += LANES) {
      const V m = load(mask + i);
      const V slope = pixels.slope(i, label_share * label.at(i) + even_share);
      store(row + i, d_class * (m > 0 ? m * slope : V{}));
    }
  }
}

}  // namespace
}  // namespace soft_dice
