// Vectors of the compiler's own (vector_size), as wide as the instruction set has them, and the few
// functions on them that the loss needs.
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

typedef Vector<float>::V VF;
typedef Vector<double>::V VD;
typedef Vector<float>::I IF;
typedef Vector<double>::I ID;

template <class T> SOFT_DICE_INLINE typename Vector<T>::V load(const T *from) {
  typename Vector<T>::V v;
  memcpy(&v, from, sizeof v);
  return v;
}

template <class T> SOFT_DICE_INLINE void store(T *to, typename Vector<T>::V v) {
  memcpy(to, &v, sizeof v);
}

template <class T> SOFT_DICE_INLINE typename Vector<T>::V splat(T x) {
  return typename Vector<T>::V{} + x;
}

// NaN where b is NaN, and where a is once it has become the b of the next call.
template <class V> SOFT_DICE_INLINE V maximum(V a, V b) { return a > b ? a : b; }

template <class V> SOFT_DICE_INLINE V absolute(V a) { return a < 0 ? -a : a; }

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2.  Adding and taking away 1.5 2^23 (2^52)
// rounds, and leaves n in the low bits on the way.  0 below the smallest normal number; x may be at
// most 88 (709).  NaN stays NaN, because 2^n is multiplied, not added to the exponent's bits.
SOFT_DICE_INLINE VF exponential(VF x) {
  const float magic = 12582912.0f;
  VF shifted = x * 1.44269504088896341f + magic;
  VF n = shifted - magic;
  VF r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  VF y = r * 1.9875691500e-4f + 1.3981999507e-3f;  // Cephes, 1.2e-7 relative
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.0f;
#if defined(__AVX512F__)
  y = (VF)_mm512_scalef_ps((__m512)y, (__m512)n);
#else
  IF bits = ((IF)shifted << 23) + 0x3f800000;
  y = y * (VF)bits;
#endif
  return x < -87.3f ? VF{} : y;
}

SOFT_DICE_INLINE VD exponential(VD x) {
  const double magic = 6755399441055744.0;
  VD shifted = x * 1.4426950408889634074 + magic;
  VD n = shifted - magic;
  VD r = x - n * 6.93145751953125e-1;
  r = r - n * 1.42860682030941723212e-6;
  VD y = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;  // Taylor to r^13: the rest is 4e-18
  y = y * r + 1.0 / 39916800.0;
  y = y * r + 1.0 / 3628800.0;
  y = y * r + 1.0 / 362880.0;
  y = y * r + 1.0 / 40320.0;
  y = y * r + 1.0 / 5040.0;
  y = y * r + 1.0 / 720.0;
  y = y * r + 1.0 / 120.0;
  y = y * r + 1.0 / 24.0;
  y = y * r + 1.0 / 6.0;
  y = y * r + 0.5;
  y = y * (r * r) + r + 1.0;
#if defined(__AVX512F__)
  y = (VD)_mm512_scalef_pd((__m512d)y, (__m512d)n);
#else
  ID bits = ((ID)shifted << 52) + 0x3ff0000000000000LL;
  y = y * (VD)bits;
#endif
  return x < -708.3 ? VD{} : y;
}

// A normal x > 0 as 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); and l = log(1 + f) in two parts, whose
// larger is f: with s = f / (2 + f) it is 2 s + 2/3 s^3 + 2/5 s^5 ... (the polynomials are FreeBSD's
// e_log.c and e_logf.c).
template <class V> struct Split {
  V e, f, less;  // l = f - less
};

SOFT_DICE_INLINE Split<VF> split(VF x) {
  IF shifted = (IF)x - 0x3f3504f3;
  VF e = __builtin_convertvector(shifted >> 23, VF);
  VF f = (VF)((shifted & 0x7fffff) + 0x3f3504f3) - 1.0f;
  VF s = f / (2.0f + f), z = s * s, half = 0.5f * f * f;
  VF rest = z * (z * (z * (z * 0.24279078841f + 0.28498786688f) + 0.40000972152f)
                 + 0.66666662693f);
  return {e, f, half - s * (half + rest)};
}

SOFT_DICE_INLINE Split<VD> split(VD x) {
  ID shifted = (ID)x - 0x3fe6a09e667f3bcdLL;
  VD e = __builtin_convertvector(shifted >> 52, VD);
  VD f = (VD)((shifted & 0xfffffffffffffLL) + 0x3fe6a09e667f3bcdLL) - 1.0;
  VD s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  VD rest = z * (z * (z * (z * (z * (z * (z * 1.479819860511658591e-01 + 1.531383769920937332e-01)
                                     + 1.818357216161805012e-01) + 2.222219843214978396e-01)
                           + 2.857142874366239149e-01) + 3.999999999940941908e-01)
                 + 6.666666666666735130e-01);
  return {e, f, half - s * (half + rest)};
}

// The smallest and largest normal number, those of their e, what rounds (see exponential()), and the
// parts of log 2, of which the larger has so few bits that its product with any e is exact.
template <class T> struct Limits;

template <> struct Limits<float> {
  static constexpr float smallest = 1.17549435e-38f, largest = 3.40282347e38f,
                         least_exponent = -126, most_exponent = 127, magic = 12582912,
                         log2_high = 6.9313812256e-1f, log2_low = 9.0580006145e-6f;
};

template <> struct Limits<double> {
  static constexpr double smallest = 2.2250738585072014e-308, largest = 1.7976931348623157e308,
                          least_exponent = -1022, most_exponent = 1023, magic = 6755399441055744,
                          log2_high = 6.93147180369123816490e-1,
                          log2_low = 1.90821492927058770002e-10;
};

// log(x) for normal x > 0.
template <class T, class V = typename Vector<T>::V> SOFT_DICE_INLINE V logarithm(V x) {
  const Split<V> parts = split(x);
  return parts.e * Limits<T>::log2_high + (parts.f - (parts.less - parts.e * Limits<T>::log2_low));
}
// log(1 + x) for x >= 0, of u = 1 + x and 1 / u: what u lost in rounding is put back.  NaN stays NaN.
template <class T, class V = typename Vector<T>::V>
SOFT_DICE_INLINE V logarithm_above(V x, V u, V inverse) {
  return logarithm<T>(u) + (u >= 2 ? V{} : (x - (u - 1)) * inverse);
}

// 2^n for whole n of a normal result.
SOFT_DICE_INLINE VF power_of_two(VF n) {
  return (VF)(((IF)(n + Limits<float>::magic) << 23) + 0x3f800000);
}

SOFT_DICE_INLINE VD power_of_two(VD n) {
  return (VD)(((ID)(n + Limits<double>::magic) << 52) + 0x3ff0000000000000LL);
}

// The leading bits of k: so few that their product with any e is exact.
SOFT_DICE_INLINE float leading(float k) {
  int32_t bits;
  memcpy(&bits, &k, sizeof k);
  bits &= ~0xfff;
  memcpy(&k, &bits, sizeof k);
  return k;
}

SOFT_DICE_INLINE double leading(double k) {
  int64_t bits;
  memcpy(&bits, &k, sizeof k);
  bits &= ~0xfffffLL;
  memcpy(&k, &bits, sizeof k);
  return k;
}

// x^k, k > 0, for x >= 0; what is NaN or infinite stays so.  0 below the smallest normal number.
//
// With k = high + low it is 2^n exp((high e - n + low e) log 2 + k l), n the whole number nearest to
// log2(x^k): high e - n is exact, so that however small the power is its digits are right.
template <class T, class V = typename Vector<T>::V> SOFT_DICE_INLINE V power(V x, T k) {
  typedef Limits<T> limits;
  k = k < T(1e30) ? k : T(1e30);  // so that no product below is infinite
  const T high = leading(k), log2 = T(0.693147180559945309417);
  const Split<V> parts = split(x);
  const V l = parts.f - parts.less, whole = high * parts.e, n = whole + k * l / log2;
  V near = n < limits::least_exponent ? splat(limits::least_exponent) : n;
  near = near > limits::most_exponent ? splat(limits::most_exponent) : near;
  near = near + limits::magic - limits::magic;
  V y = exponential((whole - near + (k - high) * parts.e) * log2 + k * l) * power_of_two(near);
  y = n > limits::most_exponent + T(0.5) ? V{} + __builtin_inff() : y;
  y = n < limits::least_exponent || x < limits::smallest ? V{} : y;
  return x <= limits::largest ? y : x;
}

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
  SOFT_DICE_INLINE double total() const {
    return Sum<double>(low + high).total();
  }
};

}  // namespace
