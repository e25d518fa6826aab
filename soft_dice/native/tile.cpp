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

template <class T> class Tile {
  typedef typename Vector<T>::V V;
  static constexpr int LANES = Vector<T>::lanes;
  static constexpr int GROUP = LANES * UNROLLED;  // widths are multiples of it

 public:
  static size_t scratch_bytes(const soft_dice_batch &batch);
  explicit Tile(const Chunk &chunk);

  int64_t end() const { return first_ + used_; }
  bool open(int64_t first);
  bool count(double *counts);
  void gradient(const double *d_counts, T *gradient, bool add);

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
           settings_.exponent == 1;
  }

  void find_place(int64_t first);
  void gather();
  bool read_labels();
  bool read_weights();
  void find_largest();
  template <bool SLOPE> void exponentials();
  void predict();
  void clear_void();
  bool has_power() const;

  SOFT_DICE_INLINE V label_at(int64_t c, int i) const;
  static SOFT_DICE_INLINE V slope_of(V label, int64_t c, T inter, T pred) {
    return label == splat(static_cast<T>(c)) ? splat(inter + pred) : splat(pred);
  }
  template <bool MASKED> void count_common(double *counts);
  template <int KIND> void count_rows(double *counts);
  template <bool MASKED> void gradient_common(T *out, int64_t out_stride);
  template <int KIND> void derive_rows();
  void through_activation(T *out, int64_t out_stride);
  void deliver(T *gradient, bool add);

  const soft_dice_batch &batch_;
  const soft_dice_settings &settings_;
  const int64_t sample_, limit_, classes_, stride_;
  const T *pred_;
  T *p_, *d_, *z_, *g_, *mask_;                // rows for each class; mask_ often only one
  T *label_, *valid_, *largest_, *scale_, *total_;  // one row each
  T *d_inter_, *d_pred_;                       // one number for each class
  int64_t *place_;                             // of each pixel in pred
  int64_t first_ = 0;
  int used_ = 0, width_ = 0;                   // pixels; the same, padded to whole groups
  bool direct_ = false, masked_ = false, elementwise_ = false;
};

// ---- scratch ----

template <class T> size_t Tile<T>::scratch_bytes(const soft_dice_batch &batch) {
  const size_t rows = 5 * batch.classes + 5;
  return (rows * stride(batch) + 2 * batch.classes) * sizeof(T) + ALIGNED
         + tile_width(batch) * sizeof(int64_t);
}

template <class T> Tile<T>::Tile(const Chunk &chunk)
    : batch_(*chunk.batch), settings_(*chunk.settings), sample_(chunk.sample), limit_(chunk.end),
      classes_(batch_.classes), stride_(stride(batch_)), pred_(static_cast<const T *>(batch_.pred)) {
  T *free = static_cast<T *>(chunk.scratch);
  for (T **rows : {&p_, &d_, &z_, &g_, &mask_}) *rows = free, free += classes_ * stride_;
  for (T **one : {&label_, &valid_, &largest_, &scale_, &total_}) *one = free, free += stride_;
  for (T **numbers : {&d_inter_, &d_pred_}) *numbers = free, free += classes_;
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
// total = sum_c p_c d_c, d_c = d_pred_c + [label = c] d_inter_c.
template <class T> template <bool SLOPE> void Tile<T>::exponentials() {
  find_largest();
  const int width = width_;
  for (int i = 0; i < width; i += GROUP) {
    V largest[UNROLLED], label[UNROLLED], sum[UNROLLED] = {}, total[UNROLLED] = {};
    for (int u = 0; u < UNROLLED; ++u) {
      largest[u] = load(largest_ + i + u * LANES);
      label[u] = load(label_ + i + u * LANES);
    }
    const T *z = logits(0) + i;
    T *p = p_ + i;
    const int64_t next_z = direct_ ? batch_.inner : stride_, next_p = stride_, classes = classes_;
    const T *const d_inter = d_inter_, *const d_pred = d_pred_;
    for (int64_t c = 0; c < classes; ++c, z += next_z, p += next_p) {
      for (int u = 0; u < UNROLLED; ++u) {
        __builtin_prefetch(z + width + u * LANES);  // the next tile's, while this one computes
        const V e = exponential(load(z + u * LANES) - largest[u]);
        store(p + u * LANES, e);
        sum[u] += e;
        if (SLOPE) total[u] += e * slope_of(label[u], c, d_inter[c], d_pred[c]);
      }
    }
    for (int u = 0; u < UNROLLED; ++u) {
      store(scale_ + i + u * LANES, 1 / sum[u]);
      if (SLOPE) store(total_ + i + u * LANES, total[u]);
    }
  }
}

// p = activation(z), 0 where it counts nowhere.
template <class T> void Tile<T>::predict() {
  if (softmax()) exponentials<false>();
  for (int64_t c = 0; c < classes_; ++c) {
    const T *z = logits(c);
    T *p = row(p_, c);
    for (int i = 0; i < width_; i += LANES) {
      if (softmax()) {
        store(p + i, load(p + i) * load(scale_ + i));
      } else if (settings_.activation == SOFT_DICE_SIGMOID) {
        const V v = load(z + i), e = exponential(-absolute(v));
        store(p + i, (v >= 0 ? splat<T>(1) : e) / (1 + e));
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

// counts (3, classes): adds sum m p g, sum m p^k and sum m g^k of the tile; false where a prediction
// has no power k.
template <class T> bool Tile<T>::count(double *counts) {
  if (is_common()) {
    masked_ ? count_common<true>(counts) : count_common<false>(counts);
    return true;
  }
  predict();
  if (!has_power()) return false;
  if (settings_.exponent == 1) count_rows<1>(counts);
  else if (settings_.exponent == 2) count_rows<2>(counts);
  else count_rows<0>(counts);
  return true;
}

// Softmax, index labels, product and exponent 1, with few looks at anything.  Along a row each lane
// sums its few pixels as they are; from there on sums are in double.
template <class T> template <bool MASKED> void Tile<T>::count_common(double *counts) {
  exponentials<false>();
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
    counts[2 * classes_ + c] += sum<T>(label);
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
template <class T> void Tile<T>::gradient(const double *d_counts, T *gradient, bool add) {
  for (int64_t c = 0; c < classes_; ++c) {
    d_inter_[c] = static_cast<T>(d_counts[sample_ * classes_ + c]);
    d_pred_[c] = static_cast<T>(d_counts[(batch_.samples + sample_) * classes_ + c]);
  }
  const bool in_place = direct_ && !add;
  T *out = in_place ? gradient + place_[0] : d_;
  const int64_t out_stride = in_place ? batch_.inner : stride_;
  if (is_common()) {
    masked_ ? gradient_common<true>(out, out_stride) : gradient_common<false>(out, out_stride);
  } else {
    predict();
    if (settings_.exponent == 1) derive_rows<1>();
    else if (settings_.exponent == 2) derive_rows<2>();
    else derive_rows<0>();
    through_activation(out, out_stride);
  }
  if (!in_place) deliver(gradient, add);
}

// gradient = m p_c (d_c - sum_j p_j d_j), with d as in exponentials().
template <class T> template <bool MASKED>
void Tile<T>::gradient_common(T *out, int64_t out_stride) {
  exponentials<true>();
  const T *const mask = mask_, *const label = label_;
  T *const scale = scale_, *const total = total_;
  const int width = width_;
  for (int i = 0; i < width; i += LANES) {  // from here on scale = m / sum p, total = m sum p d
    const V plain = load(scale + i), weighted = MASKED ? load(mask + i) * plain : plain;
    store(total + i, weighted * (plain * load(total + i)));
    store(scale + i, weighted);
  }
  for (int64_t c = 0; c < classes_; ++c) {
    const T *const e = row(p_, c);
    T *const to = out + c * out_stride;
    const T inter = d_inter_[c], pred = d_pred_[c];
    for (int i = 0; i < width; i += LANES) {
      const V slope = slope_of(load(label + i), c, inter, pred);
      const V d = load(e + i) * (load(scale + i) * slope - load(total + i));
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
  for (int64_t c = 0; c < classes_; ++c) {
    for (int i = 0; i < width_; i += LANES) {
      const V p = load(row(p_, c) + i), d = load(row(d_, c) + i);
      V z = d;
      if (softmax()) z = p * (d - load(total_ + i));
      if (settings_.activation == SOFT_DICE_SIGMOID) z = p * (1 - p) * d;
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

// ---- a chunk ----

size_t scratch_bytes(const soft_dice_batch &batch) {
  return batch.pred_type == SOFT_DICE_FLOAT32 ? Tile<float>::scratch_bytes(batch)
                                              : Tile<double>::scratch_bytes(batch);
}

template <class T> bool count_chunk(const Chunk &chunk, double *counts) {
  Tile<T> tile(chunk);
  for (int64_t first = chunk.begin; first < chunk.end; first = tile.end())
    if (!tile.open(first) || !tile.count(counts)) return false;
  return true;
}

template <class T>
void differentiate_chunk(const Chunk &chunk, const double *d_counts, void *gradient, bool add) {
  Tile<T> tile(chunk);
  for (int64_t first = chunk.begin; first < chunk.end; first = tile.end()) {
    tile.open(first);
    tile.gradient(d_counts, static_cast<T *>(gradient), add);
  }
}

bool count(const Chunk &chunk, double *counts) {
  return chunk.batch->pred_type == SOFT_DICE_FLOAT32 ? count_chunk<float>(chunk, counts)
                                                     : count_chunk<double>(chunk, counts);
}

void differentiate(const Chunk &chunk, const double *d_counts, void *gradient, bool add) {
  chunk.batch->pred_type == SOFT_DICE_FLOAT32
      ? differentiate_chunk<float>(chunk, d_counts, gradient, add)
      : differentiate_chunk<double>(chunk, d_counts, gradient, add);
}

}  // namespace

#define SOFT_DICE_NAME_OF(isa) #isa
#define SOFT_DICE_NAME(isa) SOFT_DICE_NAME_OF(isa)

const InstructionSet SOFT_DICE_ISA = {SOFT_DICE_NAME(SOFT_DICE_ISA), scratch_bytes, count,
                                      differentiate};

}  // namespace soft_dice
