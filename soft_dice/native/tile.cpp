// Stages 1 and 3 of one chunk.  This file is compiled once for each instruction set.
//
// A chunk is worked through in tiles of a few hundred pixels by all classes, small enough to stay in
// the processor's cache from the first look at a logit to the last.  A tile's rows are its classes.
#include "tile.h"

#include <initializer_list>

#include "labels.h"
#include "vector.h"

namespace soft_dice {
namespace {

constexpr int64_t WIDEST = 256;          // pixels of a tile
constexpr int64_t TILE_BYTES = 1 << 17;  // of its prediction, where WIDEST would be more
constexpr int64_t NARROWEST = 64;
constexpr int64_t ALIGNED = 64;          // bytes
constexpr int UNROLLED = SOFT_DICE_VECTOR_BYTES == 64 ? 4 : 2;  // vectors side by side

int64_t tile_width(const soft_dice_batch &batch) {
  const int64_t bytes = batch.pred_type == SOFT_DICE_FLOAT32 ? 4 : 8;
  const int64_t fits = TILE_BYTES / (batch.classes * bytes) / NARROWEST * NARROWEST;
  return fits < NARROWEST ? NARROWEST : fits > WIDEST ? WIDEST : fits;
}

// p^(k-1); KIND is k where that is 1 or 2, and 0 for any other.
template <int KIND, class T>
SOFT_DICE_INLINE typename Vector<T>::V power_below(typename Vector<T>::V p, T k) {
  if (KIND == 1) return splat<T>(1);
  if (KIND == 2) return p;
  const int whole = k < 64 ? static_cast<int>(k) : 0;
  if (static_cast<T>(whole) != k) return power(p, k - 1);
  typename Vector<T>::V product = p;  // of a negative p too
  for (int i = 2; i < whole; ++i) product *= p;
  return product;
}

// The sum of a few vectors, in double but for the few.
template <class T> SOFT_DICE_INLINE double sum(const typename Vector<T>::V (&parts)[UNROLLED]) {
  typename Vector<T>::V added = parts[0];
  for (int u = 1; u < UNROLLED; ++u) added += parts[u];
  Sum<T> total;
  total.add(added);
  return total.total();
}

// As soft_dice.counts.overlap_of.
template <class V> SOFT_DICE_INLINE V l1_overlap(V p, V g) { return (p + g - absolute(p - g)) / 2; }

template <class V> SOFT_DICE_INLINE V l1_slope(V p, V g) {
  const V half = V{} + 0.5f, d = p - g;
  return d < 0 ? V{} + 1 : d > 0 ? V{} : d == 0 ? half : d;  // NaN stays
}

// What exponentials() leaves behind beside p for the cross-entropy; each has also what is before it.
enum Kept {
  NOTHING,
  LOGARITHM,  // left = 1 - max p; and log_sum = log sum p, which a slope without focus has no use for
  CHOSEN,     // chosen = z_y - max z of the label y
  SPREAD      // spread = sum_c w_c (z_c - max z)
};

template <class T> class Tile {
  typedef typename Vector<T>::V V;
  static constexpr int LANES = Vector<T>::lanes;
  static constexpr int GROUP = LANES * UNROLLED;  // widths are multiples of it

 public:
  static size_t scratch_bytes(const soft_dice_batch &batch);
  explicit Tile(const Chunk &chunk);

  int64_t end() const { return first_ + used_; }
  bool open(int64_t first);
  bool count(double *sums);
  void gradient(const double *d_counts, const double *d_entropy, T *gradient, bool add);

 private:
  static int64_t stride(const soft_dice_batch &batch) {
    return tile_width(batch) + ALIGNED / sizeof(T);  // not a power of 2, or rows share cache sets
  }
  T *row(T *rows, int64_t c) const { return rows + c * stride_; }
  const T *logits(int64_t c) const {
    return direct_ ? pred_ + place_[0] + c * batch_.inner : row(z_, c);
  }
  const T *mask(int64_t c) const { return elementwise_ ? row(mask_, c) : mask_; }
  bool softmax() const { return settings_.activation == SOFT_DICE_SOFTMAX; }
  bool is_common() const {
    return softmax() && !settings_.dense_label && settings_.overlap == SOFT_DICE_PRODUCT &&
           settings_.exponent == 1 &&
           !(settings_.entropy && settings_.smoothing != 0 && settings_.gamma != 0);
  }
  double weight_of(int64_t c) const {
    return settings_.entropy_weights ? settings_.entropy_weights[c] : 1;
  }
  const T *amount() const { return settings_.entropy_weights ? amount_ : mask_; }

  void find_place(int64_t first);
  void gather();
  bool read_labels();
  bool read_weights();
  void find_largest();
  template <bool SLOPE, int KEPT> void exponentials();
  void predict();
  void clear_void();
  bool has_power() const;

  SOFT_DICE_INLINE V label_at(int64_t c, int i) const;
  static SOFT_DICE_INLINE V slope_of(V label, int64_t c, T inter, T pred) {
    return label == splat(static_cast<T>(c)) ? splat(inter + pred) : splat(pred);
  }
  template <bool MASKED> void count_common(double *counts);
  template <int KIND> void count_rows(double *counts);
  template <bool MASKED, bool ENTROPY> void gradient_common(T *out, int64_t out_stride);
  template <int KIND> void derive_rows();

  void weigh_labels();
  SOFT_DICE_INLINE V focus(V q) const;
  SOFT_DICE_INLINE V softmax_rest(V p, int i) const;
  SOFT_DICE_INLINE V softmax_pull(V p, V q, V minus_log) const;
  template <bool MASKED> void entropy_common(double *entropy);
  void pull_common();
  template <bool SLOPE> SOFT_DICE_INLINE V softmax_entropy(int64_t c, int i, V t) const;
  template <bool SLOPE> SOFT_DICE_INLINE V sigmoid_entropy(int64_t c, int i, V t) const;
  template <bool SLOPE> SOFT_DICE_INLINE V entropy_at(int64_t c, int i) const;
  void entropy_rows(double *entropy);
  void derive_entropy();
  void through_activation(T *out, int64_t out_stride);
  void deliver(T *gradient, bool add);

  const soft_dice_batch &batch_;
  const soft_dice_settings &settings_;
  const int64_t sample_, limit_, classes_, stride_;
  const T *pred_;
  T *p_, *d_, *z_, *g_, *h_, *mask_;           // rows for each class; mask_ often only one
  T *label_, *valid_, *largest_, *scale_, *total_;  // one row each
  T *log_sum_, *left_, *chosen_, *spread_, *amount_;
  T *d_inter_, *d_pred_, *weight_;             // one number for each class; weight_[-1] is 0
  int64_t *place_;                             // of each pixel in pred
  int64_t first_ = 0;
  int used_ = 0, width_ = 0;                   // pixels; the same, padded to whole groups
  bool direct_ = false, masked_ = false, elementwise_ = false;
  const T gamma_, kept_share_, even_share_;    // t = kept_share g + even_share
  T all_weights_ = 0, d_entropy_ = 0;          // sum_c w_c
};

// ---- scratch ----

template <class T> size_t Tile<T>::scratch_bytes(const soft_dice_batch &batch) {
  const size_t rows = 6 * batch.classes + 10;
  return (rows * stride(batch) + 3 * batch.classes + 1) * sizeof(T) + ALIGNED
         + tile_width(batch) * sizeof(int64_t);
}

template <class T> Tile<T>::Tile(const Chunk &chunk)
    : batch_(*chunk.batch), settings_(*chunk.settings), sample_(chunk.sample), limit_(chunk.end),
      classes_(batch_.classes), stride_(stride(batch_)), pred_(static_cast<const T *>(batch_.pred)),
      gamma_(static_cast<T>(settings_.gamma)), kept_share_(static_cast<T>(1 - settings_.smoothing)),
      even_share_(static_cast<T>(settings_.smoothing / (softmax() ? classes_ : 2))) {
  T *free = static_cast<T *>(chunk.scratch);
  for (T **rows : {&p_, &d_, &z_, &g_, &mask_, &h_}) *rows = free, free += classes_ * stride_;
  for (T **one : {&label_, &valid_, &largest_, &scale_, &total_, &log_sum_, &left_, &chosen_,
                  &spread_, &amount_})
    *one = free, free += stride_;
  for (T **numbers : {&d_inter_, &d_pred_}) *numbers = free, free += classes_;
  *free++ = 0;
  weight_ = free, free += classes_;
  for (int64_t c = 0; settings_.entropy && c < classes_; ++c) {
    weight_[c] = static_cast<T>(weight_of(c));
    all_weights_ += weight_[c];
  }
  const uintptr_t unaligned = reinterpret_cast<uintptr_t>(free);
  place_ = reinterpret_cast<int64_t *>((unaligned + ALIGNED - 1) / ALIGNED * ALIGNED);
}

// ---- reading ----

// Reads the pixels from `first` on; false where a value is not allowed.
template <class T> bool Tile<T>::open(int64_t first) {
  find_place(first);
  if (!direct_) gather();
  return read_labels() && read_weights();
}

// Where each pixel's first class lies in pred.  Pixels that lie side by side need no copy.
template <class T> void Tile<T>::find_place(int64_t first) {
  const int64_t inner = batch_.inner, widest = tile_width(batch_), run = inner - first % inner;
  int64_t used = limit_ - first < widest ? limit_ - first : widest;
  if (inner >= GROUP && used > run) used = run;
  direct_ = used <= run && used >= GROUP;
  if (direct_) used = used / GROUP * GROUP;
  first_ = first;
  used_ = static_cast<int>(used);
  width_ = (used_ + GROUP - 1) / GROUP * GROUP;
  int64_t across = first % inner, at = (sample_ * batch_.outer + first / inner) * classes_ * inner;
  place_[0] = at + across;
  if (direct_) return;  // the others are beside it
  for (int i = 0; i < used_; ++i) {
    place_[i] = at + across;
    if (++across == inner) across = 0, at += classes_ * inner;
  }
}

template <class T> void Tile<T>::gather() {
  const int64_t inner = batch_.inner;
  for (int i = 0; i < used_; ++i)
    for (int64_t c = 0; c < classes_; ++c) row(z_, c)[i] = pred_[place_[i] + c * inner];
  for (int64_t c = 0; c < classes_; ++c)
    for (int i = used_; i < width_; ++i) row(z_, c)[i] = 0;
}

template <class T> bool Tile<T>::read_labels() {
  const int64_t pixel = sample_ * batch_.outer * batch_.inner + first_;
  elementwise_ = settings_.dense_label && settings_.has_ignore;
  masked_ = used_ < width_ || batch_.weight;
  bool bad = false;
  for (int64_t c = 0; c < (settings_.dense_label ? classes_ : 1); ++c) {
    T *label = settings_.dense_label ? row(g_, c) : label_;
    T *valid = elementwise_ || !settings_.dense_label ? row(mask_, c) : mask_;
    const Found found =
        settings_.dense_label
            ? read_dense(batch_, settings_, direct_ ? nullptr : place_,
                         c * batch_.inner + (direct_ ? place_[0] : 0), used_, label, valid)
            : read_index(batch_, settings_, pixel, used_, label, valid);
    bad |= found.bad;
    masked_ |= found.ignored;
    for (int i = used_; i < width_; ++i) label[i] = settings_.dense_label ? 0 : -1, valid[i] = 0;
  }
  return !bad;
}

template <class T> bool Tile<T>::read_weights() {
  if (!batch_.weight) return true;
  const int64_t pixel = sample_ * batch_.outer * batch_.inner + first_;
  if (!read_weight(batch_, pixel, used_, valid_)) return false;
  for (int64_t c = 0; c < (elementwise_ ? classes_ : 1); ++c)
    for (int i = 0; i < used_; ++i) row(mask_, c)[i] *= valid_[i];
  return true;
}

// ---- the activation ----

template <class T> void Tile<T>::find_largest() {
  T *const largest = largest_;
  const int width = width_;
  for (int64_t c = 0; c < classes_; ++c) {
    const T *const z = logits(c);
    for (int i = 0; i < width; i += LANES)
      store(largest + i, c ? maximum(load(largest + i), load(z + i)) : load(z + i));
  }
}

// p = exp(z - max z), and scale = 1 / sum p, which makes it the softmax.  With SLOPE also
// total = sum_c p_c d_c, d_c = d_pred_c + [label = c] d_inter_c; and what KEPT says.
//
// Where one p is 1 and the others are next to nothing, 1 + the others is 1: for -log p and 1 - p of
// that class the others are added up by themselves.  Where two are 1, nothing is lost.
template <class T> template <bool SLOPE, int KEPT> void Tile<T>::exponentials() {
  find_largest();
  const int width = width_;
  for (int i = 0; i < width; i += GROUP) {
    V largest[UNROLLED], label[UNROLLED], sum[UNROLLED] = {}, total[UNROLLED] = {};
    V others[UNROLLED] = {}, chosen[UNROLLED] = {}, spread[UNROLLED] = {};
    for (int u = 0; u < UNROLLED; ++u) {
      largest[u] = load(largest_ + i + u * LANES);
      label[u] = load(label_ + i + u * LANES);
    }
    const T *z = logits(0) + i;
    T *p = p_ + i;
    const int64_t next_z = direct_ ? batch_.inner : stride_, next_p = stride_, classes = classes_;
    const T *const d_inter = d_inter_, *const d_pred = d_pred_, *const weight = weight_;
    for (int64_t c = 0; c < classes; ++c, z += next_z, p += next_p) {
      for (int u = 0; u < UNROLLED; ++u) {
        __builtin_prefetch(z + width + u * LANES);  // the next tile's, while this one computes
        const V below = load(z + u * LANES) - largest[u], e = exponential(below);
        store(p + u * LANES, e);
        sum[u] += e;
        if (SLOPE) total[u] += e * slope_of(label[u], c, d_inter[c], d_pred[c]);
        if (KEPT >= LOGARITHM) others[u] += e < 1 ? e : V{};
        if (KEPT >= CHOSEN)
          chosen[u] = label[u] == splat(static_cast<T>(c)) ? below : chosen[u];
        if (KEPT >= SPREAD) spread[u] += weight[c] * below;
      }
    }
    for (int u = 0; u < UNROLLED; ++u) {
      const int at = i + u * LANES;
      const V scale = 1 / sum[u];
      store(scale_ + at, scale);
      if (SLOPE) store(total_ + at, total[u]);
      if (KEPT >= LOGARITHM) {
        store(left_ + at, others[u] * scale);
        if (!SLOPE || gamma_ != 0) store(log_sum_ + at, logarithm_above<T>(others[u], sum[u], scale));
      }
      if (KEPT >= CHOSEN) store(chosen_ + at, chosen[u]);
      if (KEPT >= SPREAD) store(spread_ + at, spread[u]);
    }
  }
}

// p = activation(z), 0 where it counts nowhere.
template <class T> void Tile<T>::predict() {
  if (softmax()) settings_.entropy ? exponentials<false, LOGARITHM>()
                                   : exponentials<false, NOTHING>();
  const bool entropy = settings_.entropy;
  for (int64_t c = 0; c < classes_; ++c) {
    const T *z = logits(c);
    T *p = row(p_, c), *h = row(h_, c);
    for (int i = 0; i < width_; i += LANES) {
      if (softmax()) {
        store(p + i, load(p + i) * load(scale_ + i));
      } else if (settings_.activation == SOFT_DICE_SIGMOID) {
        const V v = load(z + i), e = exponential(-absolute(v));
        store(p + i, (v >= 0 ? splat<T>(1) : e) / (1 + e));
        if (entropy) store(h + i, e);
      } else {
        store(p + i, load(z + i));
      }
    }
  }
  if (masked_) clear_void();
}

// A NaN where nothing counts has no effect.  A pixel's softmax counts where any of its classes does.
template <class T> void Tile<T>::clear_void() {
  for (int i = 0; i < width_; i += LANES) {
    V any = V{};
    for (int64_t c = 0; c < (elementwise_ ? classes_ : 1); ++c) any += load(mask(c) + i);
    for (int64_t c = 0; c < classes_; ++c) {
      const V counts = softmax() ? any : load(mask(c) + i);
      store(row(p_, c) + i, counts > 0 ? load(row(p_, c) + i) : V{});
    }
  }
}

// A negative prediction has no fractional power.
template <class T> bool Tile<T>::has_power() const {
  const double k = settings_.exponent;
  if (settings_.activation != SOFT_DICE_NONE || k == static_cast<double>(static_cast<int64_t>(k)))
    return true;
  int negative = 0;
  for (int64_t c = 0; c < classes_; ++c)
    for (int i = 0; i < width_; ++i) negative |= row(p_, c)[i] < 0;
  return !negative;
}

// ---- stage 1 ----

// sums (3, classes): adds sum m p g, sum m p^k and sum m g^k of the tile; behind them, of the
// cross-entropy, E and W.  False where a prediction has no power k.
template <class T> bool Tile<T>::count(double *sums) {
  if (is_common()) {
    if (settings_.entropy_weights) weigh_labels();
    masked_ ? count_common<true>(sums) : count_common<false>(sums);
    return true;
  }
  predict();
  if (!has_power()) return false;
  if (settings_.exponent == 1) count_rows<1>(sums);
  else if (settings_.exponent == 2) count_rows<2>(sums);
  else count_rows<0>(sums);
  if (settings_.entropy) entropy_rows(sums + 3 * classes_);
  return true;
}

// Softmax, index labels, product and exponent 1, with few looks at anything.  Along a row each lane
// sums its few pixels as they are; from there on sums are in double.
template <class T> template <bool MASKED> void Tile<T>::count_common(double *counts) {
  double *const entropy = counts + 3 * classes_;
  if (settings_.entropy) entropy_common<MASKED>(entropy);
  else exponentials<false, NOTHING>();
  const T *const scale = scale_, *const mask = mask_, *const labels = label_;
  const int width = width_;
  for (int64_t c = 0; c < classes_; ++c) {
    const T *const e = row(p_, c);
    const V klass = splat(static_cast<T>(c)), one = splat<T>(1);
    V inter[UNROLLED] = {}, pred[UNROLLED] = {}, label[UNROLLED] = {};
    for (int i = 0; i < width; i += GROUP)
      for (int u = 0; u < UNROLLED; ++u) {
        const int at = i + u * LANES;
        V p = load(e + at) * load(scale + at), m = one;
        if (MASKED) {
          m = load(mask + at);
          p = m > 0 ? m * p : V{};
        }
        const auto here = load(labels + at) == klass;
        pred[u] += p;
        inter[u] = here ? inter[u] + p : inter[u];
        label[u] = here ? label[u] + m : label[u];
      }
    counts[c] += sum<T>(inter);
    counts[classes_ + c] += sum<T>(pred);
    const double labels_here = sum<T>(label);
    counts[2 * classes_ + c] += labels_here;
    if (settings_.entropy) entropy[1] += weight_of(c) * labels_here;
  }
}

template <class T> SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::label_at(int64_t c, int i) const {
  if (settings_.dense_label) return load(row(g_, c) + i);
  return load(label_ + i) == splat(static_cast<T>(c)) ? splat<T>(1) : V{};
}

template <class T> template <int KIND> void Tile<T>::count_rows(double *counts) {
  const T k = static_cast<T>(settings_.exponent);
  const bool product = settings_.overlap == SOFT_DICE_PRODUCT;
  for (int64_t c = 0; c < classes_; ++c) {
    Sum<T> inter, pred, label;
    for (int i = 0; i < width_; i += LANES) {
      const V p = load(row(p_, c) + i), g = label_at(c, i), m = load(mask(c) + i);
      inter.add(m * (product ? p * g : l1_overlap(p, g)));
      pred.add(m * p * power_below<KIND>(p, k));
      label.add(m * g * (settings_.dense_label ? power_below<KIND>(g, k) : splat<T>(1)));
    }
    counts[c] += inter.total();
    counts[classes_ + c] += pred.total();
    counts[2 * classes_ + c] += label.total();
  }
}

// ---- stage 3 ----

// gradient: of all of pred.
template <class T>
void Tile<T>::gradient(const double *d_counts, const double *d_entropy, T *gradient, bool add) {
  for (int64_t c = 0; c < classes_; ++c) {
    d_inter_[c] = static_cast<T>(d_counts[sample_ * classes_ + c]);
    d_pred_[c] = static_cast<T>(d_counts[(batch_.samples + sample_) * classes_ + c]);
  }
  if (settings_.entropy) d_entropy_ = static_cast<T>(d_entropy[sample_]);
  const bool in_place = direct_ && !add;
  T *out = in_place ? gradient + place_[0] : d_;
  const int64_t out_stride = in_place ? batch_.inner : stride_;
  if (is_common()) {
    if (settings_.entropy) {
      if (settings_.entropy_weights) weigh_labels();
      masked_ ? gradient_common<true, true>(out, out_stride)
              : gradient_common<false, true>(out, out_stride);
    } else {
      masked_ ? gradient_common<true, false>(out, out_stride)
              : gradient_common<false, false>(out, out_stride);
    }
  } else {
    predict();
    if (settings_.exponent == 1) derive_rows<1>();
    else if (settings_.exponent == 2) derive_rows<2>();
    else derive_rows<0>();
    if (settings_.entropy) derive_entropy();
    through_activation(out, out_stride);
  }
  if (!in_place) deliver(gradient, add);
}

// gradient = m p_c (d_c - sum_j p_j d_j), with d as in exponentials(); with ENTROPY what
// pull_common() says is added to it.
template <class T> template <bool MASKED, bool ENTROPY>
void Tile<T>::gradient_common(T *out, int64_t out_stride) {
  exponentials<true, ENTROPY ? CHOSEN : NOTHING>();
  if (ENTROPY) pull_common();
  const T *const mask = mask_, *const label = label_, *const chosen = chosen_;
  T *const scale = scale_, *const total = total_, *const elsewhere = spread_;
  const int width = width_;
  for (int i = 0; i < width; i += LANES) {  // from here on scale = m / sum p, total = m sum p d
    const V plain = load(scale + i), weighted = MASKED ? load(mask + i) * plain : plain;
    const V sum = weighted * (plain * load(total + i));
    store(total + i, sum);
    store(scale + i, weighted);
    if (ENTROPY) store(elsewhere + i, sum - plain * load(elsewhere + i));
  }
  for (int64_t c = 0; c < classes_; ++c) {
    const T *const e = row(p_, c);
    T *const to = out + c * out_stride;
    const T inter = d_inter_[c], pred = d_pred_[c];
    const T even = ENTROPY ? even_share_ * weight_[c] * d_entropy_ : 0;
    for (int i = 0; i < width; i += LANES) {
      const V slope = slope_of(load(label + i), c, inter, pred);
      V sum = load(total + i);
      if (ENTROPY) sum = load(label + i) == splat(static_cast<T>(c)) ? sum : load(elsewhere + i);
      V d = load(e + i) * (load(scale + i) * slope - sum);
      if (ENTROPY) {
        d += load(label + i) == splat(static_cast<T>(c)) ? load(chosen + i) : V{};
        d -= MASKED ? load(mask + i) * even : splat(even);
      }
      store(to + i, MASKED ? (load(mask + i) > 0 ? d : V{}) : d);
    }
  }
}

// d = m (d_inter d(overlap)/dp + d_pred k p^(k-1)).
template <class T> template <int KIND> void Tile<T>::derive_rows() {
  const T k = static_cast<T>(settings_.exponent);
  const bool product = settings_.overlap == SOFT_DICE_PRODUCT;
  for (int64_t c = 0; c < classes_; ++c) {
    for (int i = 0; i < width_; i += LANES) {
      const V p = load(row(p_, c) + i), g = label_at(c, i), m = load(mask(c) + i);
      const V slope = product ? g : l1_slope(p, g);
      store(row(d_, c) + i,
            m * (d_inter_[c] * slope + d_pred_[c] * k * power_below<KIND>(p, k)));
    }
  }
}

// The derivative of the logits, after soft_dice.counts.activate_vjp.
template <class T> void Tile<T>::through_activation(T *out, int64_t out_stride) {
  for (int i = 0; i < width_; i += LANES) store(total_ + i, V{});
  for (int64_t c = 0; c < classes_ && softmax(); ++c)
    for (int i = 0; i < width_; i += LANES)
      store(total_ + i, load(total_ + i) + load(row(p_, c) + i) * load(row(d_, c) + i));
  const bool entropy = settings_.entropy;
  for (int64_t c = 0; c < classes_; ++c) {
    for (int i = 0; i < width_; i += LANES) {
      const V p = load(row(p_, c) + i), d = load(row(d_, c) + i);
      V z = d;
      if (softmax()) z = p * (d - load(total_ + i));
      if (settings_.activation == SOFT_DICE_SIGMOID) z = p * (1 - p) * d;
      if (entropy) {
        const V h = load(row(h_, c) + i);
        z += softmax() ? softmax_rest(p, i) * h - p * (load(spread_ + i) - h) : h;
      }
      store(out + c * out_stride + i, z);
    }
  }
}

// The rows of d, to where their pixels lie.
template <class T> void Tile<T>::deliver(T *gradient, bool add) {
  for (int64_t c = 0; c < classes_; ++c) {
    const T *const from = row(d_, c);
    T *const to = gradient + c * batch_.inner;
    for (int i = 0; i < used_; ++i) {
      T &at = to[direct_ ? place_[0] + i : place_[i]];
      at = add ? at + from[i] : from[i];
    }
  }
}

// ---- the cross-entropy ----
//
// With t = kept_share g + even_share, q = 1 - p and w the weight of a class,
//
//   softmax: E = sum m w t q^gamma (-log p)
//   sigmoid: E = sum m w (t q^gamma (-log p) + (1 - t) p^gamma (-log q))
//
// after soft_dice.entropy.  Neither q nor a logarithm is taken of a p that was rounded.

// amount = m w_y of the label y, 0 where there is none, which w_-1 says.
template <class T>
__attribute__((noinline)) void weigh(const T *__restrict label, const T *__restrict mask,
                                     const T *__restrict weight, int n, T *__restrict amount) {
  for (int i = 0; i < n; ++i) amount[i] = mask[i] * weight[static_cast<int>(label[i])];
}

template <class T> void Tile<T>::weigh_labels() { weigh(label_, mask_, weight_, width_, amount_); }

// a b, where 0 times infinity is 0.
template <class V> SOFT_DICE_INLINE V times(V a, V b) { return a == 0 ? V{} : a * b; }

// q^gamma.
template <class T> SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::focus(V q) const {
  const T gamma = gamma_;
  return gamma == 0 ? splat<T>(1) : gamma == 1 ? q : gamma == 2 ? q * q : power(q, gamma);
}

// 1 - p of a softmax: more than one half is the largest, of which it is known.
template <class T>
SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::softmax_rest(V p, int i) const {
  return p > T(0.5) ? load(left_ + i) : 1 - p;
}

// -p d/dp of q^gamma (-log p) = q^gamma (1 + gamma p (-log p) / q), where (-log p) / q is 1 at p = 1.
template <class T>
SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::softmax_pull(V p, V q, V minus_log) const {
  if (gamma_ == 0) return splat<T>(1);
  const V ratio = q == 0 ? splat<T>(1) : minus_log / q;
  return focus(q) * (1 + gamma_ * times(p, ratio));
}

// Of softmax and index labels; adds E, after exponentials().  Without focus or without smoothing only
// the label's own class y needs a look:
//
//   E = sum m (kept_share w_y q_y^gamma (-log p_y) + even_share sum_c w_c (-log p_c))
template <class T> template <bool MASKED> void Tile<T>::entropy_common(double *entropy) {
  const bool smooth = even_share_ != 0;
  smooth ? exponentials<false, SPREAD>() : exponentials<false, CHOSEN>();
  const T *const weighted = amount();
  Sum<T> loss;
  for (int i = 0; i < width_; i += LANES) {
    const V log_sum = load(log_sum_ + i), chosen = load(chosen_ + i);
    V minus_log = log_sum - chosen;
    if (gamma_ != 0) {
      const V p = exponential(chosen) * load(scale_ + i);
      minus_log = focus(softmax_rest(p, i)) * minus_log;
    }
    V each = times(kept_share_ * load(weighted + i), minus_log);
    if (smooth) {
      const V even = even_share_ * (all_weights_ * log_sum - load(spread_ + i));
      each += MASKED ? load(mask_ + i) * even : even;
    }
    loss.add(MASKED ? (load(mask_ + i) > 0 ? each : V{}) : each);
  }
  entropy[0] += loss.total();
}

// What that gives the gradient, after exponentials(): with a = m d_E kept_share w_y pull(p_y) and
// b = m d_E even_share sum_c w_c, it is (a + b) p_c - m d_E even_share w_c, and a less at c = y.
// From here on spread = a + b, and chosen = b p_y - a q_y = (a + b) p_y - a.
template <class T> void Tile<T>::pull_common() {
  const T *const weighted = amount();
  const T kept = kept_share_ * d_entropy_, even = even_share_ * all_weights_ * d_entropy_;
  for (int i = 0; i < width_; i += LANES) {
    const V chosen = load(chosen_ + i), p = exponential(chosen) * load(scale_ + i);
    const V q = softmax_rest(p, i), b = even * load(mask_ + i);
    V a = kept * load(weighted + i);
    if (gamma_ != 0) a = times(a, softmax_pull(p, q, load(log_sum_ + i) - chosen));
    store(spread_ + i, a + b);
    store(chosen_ + i, b * p - a * q);
  }
}

// t q^gamma (-log p); with SLOPE p times its derivative by p.
template <class T> template <bool SLOPE>
SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::softmax_entropy(int64_t c, int i, V t) const {
  const V p = load(row(p_, c) + i), q = softmax_rest(p, i);
  if (SLOPE && gamma_ == 0) return -t;
  const V minus_log = load(log_sum_ + i) - (load(logits(c) + i) - load(largest_ + i));
  return SLOPE ? times(-t, softmax_pull(p, q, minus_log)) : times(t, focus(q) * minus_log);
}

// t q^gamma (-log p) + (1 - t) p^gamma (-log q); with SLOPE its derivative by z.  Of e = exp(-|z|),
// which predict() has left in h, come of_p = -log p = log(1 + e) + max(-z, 0), and of_q.
template <class T> template <bool SLOPE>
SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::sigmoid_entropy(int64_t c, int i, V t) const {
  const V z = load(logits(c) + i), e = load(row(h_, c) + i);
  const V sum = 1 + e, scale = 1 / sum, rest = 1 - t;
  const V p = z >= 0 ? scale : e * scale, q = z >= 0 ? e * scale : scale;
  if (SLOPE && gamma_ == 0) return rest * p - t * q;
  const V both = logarithm_above<T>(e, sum, scale);
  const V of_p = both + (z < 0 ? -z : V{}), of_q = both + (z > 0 ? z : V{});
  if (gamma_ == 0) return times(t, of_p) + times(rest, of_q);
  if (!SLOPE) return times(t, focus(q) * of_p) + times(rest, focus(p) * of_q);
  return rest * focus(p) * (p + gamma_ * times(q, of_q)) -
         t * focus(q) * (q + gamma_ * times(p, of_p));
}

template <class T> template <bool SLOPE>
SOFT_DICE_INLINE typename Vector<T>::V Tile<T>::entropy_at(int64_t c, int i) const {
  const V m = load(mask(c) + i), t = kept_share_ * label_at(c, i) + even_share_;
  const V each = softmax() ? softmax_entropy<SLOPE>(c, i, t) : sigmoid_entropy<SLOPE>(c, i, t);
  return m > 0 ? m * each : V{};
}

// Adds E and W of any labels, after predict().
template <class T> void Tile<T>::entropy_rows(double *entropy) {
  for (int64_t c = 0; c < classes_; ++c) {
    Sum<T> loss, weight;
    for (int i = 0; i < width_; i += LANES) {
      loss.add(entropy_at<false>(c, i));
      weight.add(softmax() ? load(mask(c) + i) * label_at(c, i) : load(mask(c) + i));
    }
    entropy[0] += weight_of(c) * loss.total();
    entropy[1] += weight_of(c) * weight.total();
  }
}

// h = d_E m w times p dE/dp for a softmax, of which spread becomes the sum over classes, and dE/dz
// for sigmoids.
template <class T> void Tile<T>::derive_entropy() {
  for (int i = 0; i < width_; i += LANES) store(spread_ + i, V{});
  for (int64_t c = 0; c < classes_; ++c) {
    const V d = splat(d_entropy_ * weight_[c]);
    for (int i = 0; i < width_; i += LANES) {
      const V h = d * entropy_at<true>(c, i);
      store(row(h_, c) + i, h);
      store(spread_ + i, load(spread_ + i) + h);
    }
  }
}

// ---- a chunk ----

size_t scratch_bytes(const soft_dice_batch &batch) {
  return batch.pred_type == SOFT_DICE_FLOAT32 ? Tile<float>::scratch_bytes(batch)
                                              : Tile<double>::scratch_bytes(batch);
}

template <class T> bool count_chunk(const Chunk &chunk, double *sums) {
  Tile<T> tile(chunk);
  for (int64_t first = chunk.begin; first < chunk.end; first = tile.end())
    if (!tile.open(first) || !tile.count(sums)) return false;
  return true;
}

template <class T>
void differentiate_chunk(const Chunk &chunk, const double *d_counts, const double *d_entropy,
                         void *gradient, bool add) {
  Tile<T> tile(chunk);
  for (int64_t first = chunk.begin; first < chunk.end; first = tile.end()) {
    tile.open(first);
    tile.gradient(d_counts, d_entropy, static_cast<T *>(gradient), add);
  }
}

bool count(const Chunk &chunk, double *sums) {
  return chunk.batch->pred_type == SOFT_DICE_FLOAT32 ? count_chunk<float>(chunk, sums)
                                                     : count_chunk<double>(chunk, sums);
}

void differentiate(const Chunk &chunk, const double *d_counts, const double *d_entropy,
                   void *gradient, bool add) {
  chunk.batch->pred_type == SOFT_DICE_FLOAT32
      ? differentiate_chunk<float>(chunk, d_counts, d_entropy, gradient, add)
      : differentiate_chunk<double>(chunk, d_counts, d_entropy, gradient, add);
}

}  // namespace

#define SOFT_DICE_NAME_OF(isa) #isa
#define SOFT_DICE_NAME(isa) SOFT_DICE_NAME_OF(isa)

const InstructionSet SOFT_DICE_ISA = {SOFT_DICE_NAME(SOFT_DICE_ISA), scratch_bytes, count,
                                      differentiate};

}  // namespace soft_dice
