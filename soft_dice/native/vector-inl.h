// Vectors of the compiler's own (vector_size), as wide as the instruction set has them.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define SOFT_DICE_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define SOFT_DICE_VECTOR_BYTES 32
#else
#define SOFT_DICE_VECTOR_BYTES 16
#endif

#define SOFT_DICE_INLINE inline __attribute__((always_inline))

namespace soft_dice {
namespace {  // every instruction set has its own; none may be merged with another's

template <class T> struct Vector;

template <> struct Vector<float> {
  typedef float V __attribute__((vector_size(SOFT_DICE_VECTOR_BYTES)));
  typedef int32_t I __attribute__((vector_size(SOFT_DICE_VECTOR_BYTES)));
  static constexpr int lanes = SOFT_DICE_VECTOR_BYTES / 4;
};

template <> struct Vector<double> {
  typedef double V __attribute__((vector_size(SOFT_DICE_VECTOR_BYTES)));
  typedef int64_t I __attribute__((vector_size(SOFT_DICE_VECTOR_BYTES)));
  static constexpr int lanes = SOFT_DICE_VECTOR_BYTES / 8;
};

template <class T> using Vec = typename Vector<T>::V;
typedef Vector<float>::V VF;
typedef Vector<double>::V VD;
typedef Vector<float>::I IF;
typedef Vector<double>::I ID;

constexpr int UNROLLED = SOFT_DICE_VECTOR_BYTES == 64 ? 4 : 2;  // vectors side by side

template <class T> SOFT_DICE_INLINE Vec<T> load(const T *from) {
  Vec<T> v;
  memcpy(&v, from, sizeof v);
  return v;
}

template <class T> SOFT_DICE_INLINE void store(T *to, Vec<T> v) { memcpy(to, &v, sizeof v); }

template <class T> SOFT_DICE_INLINE Vec<T> splat(T x) { return Vec<T>{} + x; }

template <class T> SOFT_DICE_INLINE void copy(const T *from, int number, T *to) {
  for (int i = 0; i < number; i += Vector<T>::lanes) store(to + i, load(from + i));
}

// NaN where b is NaN, and where a is once it has become the b of the next call.
template <class V> SOFT_DICE_INLINE V maximum(V a, V b) { return a > b ? a : b; }

template <class V> SOFT_DICE_INLINE V absolute(V a) { return a < 0 ? -a : a; }

// ---- sums ----

typedef float HalfVF __attribute__((vector_size(SOFT_DICE_VECTOR_BYTES / 2)));

SOFT_DICE_INLINE VD widen(HalfVF v) {
#if defined(__AVX512F__)  // the compiler's own conversion takes the vector apart
  return (VD)_mm512_cvtps_pd((__m256)v);
#elif defined(__AVX2__)
  return (VD)_mm256_cvtps_pd((__m128)v);
#else
  return __builtin_convertvector(v, VD);
#endif
}

// A sum in double of vectors of either type.
template <class T> struct Sum;

template <> struct Sum<double> {
  explicit Sum(VD start = VD{}) : lanes(start) {}
  VD lanes;
  SOFT_DICE_INLINE void add(VD v) { lanes += v; }
  SOFT_DICE_INLINE double total() const {
    double each[Vector<double>::lanes];
    memcpy(each, &lanes, sizeof lanes);
    for (int half = Vector<double>::lanes / 2; half; half /= 2)
      for (int i = 0; i < half; ++i) each[i] += each[i + half];
    return each[0];
  }
};

template <> struct Sum<float> {
  VD low = VD{}, high = VD{};
  SOFT_DICE_INLINE void add(VF v) {
    HalfVF halves[2];
    memcpy(halves, &v, sizeof v);
    low += widen(halves[0]);
    high += widen(halves[1]);
  }
  SOFT_DICE_INLINE double total() const { return Sum<double>(low + high).total(); }
};

// The sum of a few vectors, in double but for the few.
template <class T> SOFT_DICE_INLINE double sum_of(const Vec<T> (&parts)[UNROLLED]) {
  Vec<T> added = parts[0];
  for (int u = 1; u < UNROLLED; ++u) added += parts[u];
  Sum<T> sum;
  sum.add(added);
  return sum.total();
}

}  // namespace
}  // namespace soft_dice
