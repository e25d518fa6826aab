// The activation of a tile: forward, p of z; and backward, the derivative by z of that by p.
#pragma once

#include "elementary-inl.h"
#include "tile-inl.h"

namespace soft_dice {
namespace {

// A term of the loss may take part in the passes below.  This one does not.
struct NoTerm {
  // While the exponentials of a group of pixels pass by, UNROLLED vectors side by side: the group
  // starts at pixel i; its vector u at class c has gap = z_c - max z and e = exp(gap); that vector
  // ends, from pixel `at` on, with sum = sum_c e_c and scale = 1 / sum.
  SOFT_DICE_INLINE void start(int /* i */) {}
  template <class V>
  SOFT_DICE_INLINE void add(int /* u */, int64_t /* c */, V /* gap */, V /* e */) {}
  template <class V>
  SOFT_DICE_INLINE void finish(int /* u */, int /* at */, V /* sum */, V /* scale */) {}

  // On the way back: d_z of class c from pixel i on, with what the term adds to it.
  template <class V>
  SOFT_DICE_INLINE V added_to(V d_z, int64_t /* c */, int /* i */, V /* p */) const { return d_z; }
};

template <class T> struct Activation {
  typedef Vec<T> V;
  static constexpr int LANES = Tile<T>::LANES, GROUP = Tile<T>::GROUP;

  Activation(const Tile<T> &tile, Scratch<T> &scratch)
      : tile(tile), e(scratch.rows()), p(scratch.rows()), tail(scratch.rows()),
        largest(scratch.row()), scale(scratch.row()), mean(scratch.row()) {}

  template <class A, class B> void exponentials(A a, B b);
  template <class Term> void forward(Term term);
  template <class Term> void backward(Rows<const T> d_p, Term term, Rows<T> d_z);

  const Tile<T> &tile;
  const Rows<T> e;     // of a softmax, exp(z_c - max z), which is p_c but for its scale
  const Rows<T> p;     // activation(z), 0 where it counts nowhere
  const Rows<T> tail;  // of a sigmoid beside a cross-entropy, exp(-|z|)
  T *const largest;    // of a softmax, max z
  T *const scale;      // of a softmax, 1 / sum_c e_c
  T *const mean;       // of a softmax, sum_c p_c d_p_c

 private:
  void find_largest();
  void scale_exponentials();
  void sigmoid();
  void without_ignored();
};

// ---- forward ----

template <class T> void Activation<T>::find_largest() {
  const Rows<const T> rows = tile.z;
  T *const to = largest;
  const int width = tile.place.width;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const T *const z = rows[c];
    for (int i = 0; i < width; i += LANES)
      store(to + i, c ? maximum(load(to + i), load(z + i)) : load(z + i));
  }
}

// e and scale of a softmax; terms a and b take part.
template <class T> template <class A, class B> void Activation<T>::exponentials(A a, B b) {
  find_largest();
  const Rows<const T> z_rows = tile.z;
  const Rows<T> e_rows = e;
  const int64_t classes = tile.classes;
  const int width = tile.place.width;
  for (int i = 0; i < width; i += GROUP) {
    V top[UNROLLED], sum[UNROLLED] = {};
    for (int u = 0; u < UNROLLED; ++u) top[u] = load(largest + i + u * LANES);
    a.start(i);
    b.start(i);
    const T *z = z_rows[0] + i;
    T *to = e_rows[0] + i;
    for (int64_t c = 0; c < classes; ++c, z += z_rows.stride, to += e_rows.stride) {
      for (int u = 0; u < UNROLLED; ++u) {
        __builtin_prefetch(z + width + u * LANES);  // the next tile's, while this one computes
        const V gap = load(z + u * LANES) - top[u], each = exponential(gap);
        store(to + u * LANES, each);
        sum[u] += each;
        a.add(u, c, gap, each);
        b.add(u, c, gap, each);
      }
    }
    for (int u = 0; u < UNROLLED; ++u) {
      const V inverse = 1 / sum[u];
      store(scale + i + u * LANES, inverse);
      a.finish(u, i + u * LANES, sum[u], inverse);
      b.finish(u, i + u * LANES, sum[u], inverse);
    }
  }
}

// p; of a softmax the term takes part in the exponentials.
template <class T> template <class Term> void Activation<T>::forward(Term term) {
  switch (tile.settings.activation) {
    case SOFT_DICE_SOFTMAX:
      exponentials(NoTerm(), term);
      scale_exponentials();
      break;
    case SOFT_DICE_SIGMOID:
      sigmoid();
      break;
    default:
      for (int64_t c = 0; c < tile.classes; ++c) copy(tile.z[c], tile.place.width, p[c]);
  }
  if (tile.masked) without_ignored();
}

template <class T> void Activation<T>::scale_exponentials() {
  const int width = tile.place.width;
  const T *const by = scale;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const T *const from = e[c];
    T *const to = p[c];
    for (int i = 0; i < width; i += LANES) store(to + i, load(from + i) * load(by + i));
  }
}

template <class T> void Activation<T>::sigmoid() {
  const int width = tile.place.width;
  const bool entropy = tile.settings.entropy;
  for (int64_t c = 0; c < tile.classes; ++c) {
    const T *const from = tile.z[c];
    T *const to = p[c], *const to_tail = tail[c];
    for (int i = 0; i < width; i += LANES) {
      const V z = load(from + i), small = exponential(-absolute(z));
      store(to + i, (z >= 0 ? splat<T>(1) : small) / (1 + small));
      if (entropy) store(to_tail + i, small);
    }
  }
}

// As soft_dice.counts.without_ignored: a NaN where nothing counts has no effect.  A pixel's softmax
// counts where any of its classes does.
template <class T> void Activation<T>::without_ignored() {
  const bool softmax = tile.softmax();
  for (int i = 0; i < tile.place.width; i += LANES) {
    V any = V{};
    for (int64_t c = 0; c < (tile.mask_per_class ? tile.classes : 1); ++c)
      any += load(tile.mask[c] + i);
    for (int64_t c = 0; c < tile.classes; ++c) {
      const V counts = softmax ? any : load(tile.mask[c] + i);
      store(p[c] + i, counts > 0 ? load(p[c] + i) : V{});
    }
  }
}

// ---- backward ----

// After soft_dice.counts.activate_vjp; what the term adds is added.
template <class T> template <class Term>
void Activation<T>::backward(Rows<const T> d_p_rows, Term term, Rows<T> d_z_rows) {
  const int width = tile.place.width;
  const int64_t classes = tile.classes;
  const bool softmax = tile.softmax(), sigmoid = tile.settings.activation == SOFT_DICE_SIGMOID;
  const Rows<T> p_rows = p;
  T *const mean_row = mean;
  for (int i = 0; i < width && softmax; i += LANES) store(mean_row + i, V{});
  for (int64_t c = 0; c < classes && softmax; ++c)
    for (int i = 0; i < width; i += LANES)
      store(mean_row + i, load(mean_row + i) + load(p_rows[c] + i) * load(d_p_rows[c] + i));
  for (int64_t c = 0; c < classes; ++c) {
    for (int i = 0; i < width; i += LANES) {
      const V p = load(p_rows[c] + i), d_p = load(d_p_rows[c] + i);
      const V d_z = softmax   ? p * (d_p - load(mean_row + i))
                    : sigmoid ? p * (1 - p) * d_p
                              : d_p;
      store(d_z_rows[c] + i, term.added_to(d_z, c, i, p));
    }
  }
}

}  // namespace
}  // namespace soft_dice
