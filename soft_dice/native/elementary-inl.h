// exp, log and powers of vectors.
#pragma once

#include "vector-inl.h"

namespace soft_dice {
namespace {

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2.  Adding and taking away 1.5 2^23
// (2^52) rounds, and leaves n in the low bits on the way.  0 below the smallest normal number; x
// may be at most 88 (709).  NaN stays NaN: 2^n is multiplied, not added to the exponent's bits.
SOFT_DICE_INLINE VF exponential(VF x) {
  const float magic = 12582912.0f;
  const VF shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
  const VF r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  VF exp_r = r * 1.9875691500e-4f + 1.3981999507e-3f;  // Cephes, 1.2e-7 relative
  exp_r = exp_r * r + 8.3334519073e-3f;
  exp_r = exp_r * r + 4.1665795894e-2f;
  exp_r = exp_r * r + 1.6666665459e-1f;
  exp_r = exp_r * r + 5.0000001201e-1f;
  exp_r = exp_r * (r * r) + r + 1.0f;
#if defined(__AVX512F__)
  const VF exp_x = (VF)_mm512_scalef_ps((__m512)exp_r, (__m512)n);
#else
  const IF power_of_two = ((IF)shifted << 23) + 0x3f800000;
  const VF exp_x = exp_r * (VF)power_of_two;
#endif
  return x < -87.3f ? VF{} : exp_x;
}

SOFT_DICE_INLINE VD exponential(VD x) {
  const double magic = 6755399441055744.0;
  const VD shifted = x * 1.4426950408889634074 + magic, n = shifted - magic;
  const VD r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
  VD exp_r = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;  // Taylor to r^13: the rest is 4e-18
  exp_r = exp_r * r + 1.0 / 39916800.0;
  exp_r = exp_r * r + 1.0 / 3628800.0;
  exp_r = exp_r * r + 1.0 / 362880.0;
  exp_r = exp_r * r + 1.0 / 40320.0;
  exp_r = exp_r * r + 1.0 / 5040.0;
  exp_r = exp_r * r + 1.0 / 720.0;
  exp_r = exp_r * r + 1.0 / 120.0;
  exp_r = exp_r * r + 1.0 / 24.0;
  exp_r = exp_r * r + 1.0 / 6.0;
  exp_r = exp_r * r + 0.5;
  exp_r = exp_r * (r * r) + r + 1.0;
#if defined(__AVX512F__)
  const VD exp_x = (VD)_mm512_scalef_pd((__m512d)exp_r, (__m512d)n);
#else
  const ID power_of_two = ((ID)shifted << 52) + 0x3ff0000000000000LL;
  const VD exp_x = exp_r * (VD)power_of_two;
#endif
  return x < -708.3 ? VD{} : exp_x;
}

// A normal x > 0 as 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); and l = log(1 + f) in two parts,
// whose larger is f: with s = f / (2 + f) it is 2 s + 2/3 s^3 + 2/5 s^5 ... (the polynomials are
// FreeBSD's e_log.c and e_logf.c).
template <class V> struct Split {
  V e, f, less;  // l = f - less
};

SOFT_DICE_INLINE Split<VF> split(VF x) {
  const IF shifted = (IF)x - 0x3f3504f3;
  const VF e = __builtin_convertvector(shifted >> 23, VF);
  const VF f = (VF)((shifted & 0x7fffff) + 0x3f3504f3) - 1.0f;
  const VF s = f / (2.0f + f), z = s * s, half = 0.5f * f * f;
  const VF rest = z * (z * (z * (z * 0.24279078841f + 0.28498786688f) + 0.40000972152f)
                       + 0.66666662693f);
  return {e, f, half - s * (half + rest)};
}

SOFT_DICE_INLINE Split<VD> split(VD x) {
  const ID shifted = (ID)x - 0x3fe6a09e667f3bcdLL;
  const VD e = __builtin_convertvector(shifted >> 52, VD);
  const VD f = (VD)((shifted & 0xfffffffffffffLL) + 0x3fe6a09e667f3bcdLL) - 1.0;
  const VD s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  const VD rest =
      z * (z * (z * (z * (z * (z * (z * 1.479819860511658591e-01 + 1.531383769920937332e-01)
                               + 1.818357216161805012e-01) + 2.222219843214978396e-01)
                     + 2.857142874366239149e-01) + 3.999999999940941908e-01)
           + 6.666666666666735130e-01);
  return {e, f, half - s * (half + rest)};
}

// The smallest and largest normal number, those of their e, what rounds (see exponential()), and
// the parts of log 2, of which the larger has so few bits that its product with any e is exact.
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
template <class T> SOFT_DICE_INLINE Vec<T> logarithm(Vec<T> x) {
  const Split<Vec<T>> parts = split(x);
  return parts.e * Limits<T>::log2_high + (parts.f - (parts.less - parts.e * Limits<T>::log2_low));
}

// log(1 + x) for x >= 0, of u = 1 + x and 1 / u: what u lost in rounding is put back.  NaN stays.
template <class T> SOFT_DICE_INLINE Vec<T> logarithm_above(Vec<T> x, Vec<T> u, Vec<T> inverse) {
  return logarithm<T>(u) + (u >= 2 ? Vec<T>{} : (x - (u - 1)) * inverse);
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
  memcpy(&bits, &k, sizeof bits);
  const int32_t leading_bits = bits & ~0xfff;
  float high;
  memcpy(&high, &leading_bits, sizeof high);
  return high;
}

SOFT_DICE_INLINE double leading(double k) {
  int64_t bits;
  memcpy(&bits, &k, sizeof bits);
  const int64_t leading_bits = bits & ~0xfffffLL;
  double high;
  memcpy(&high, &leading_bits, sizeof high);
  return high;
}

// x^exponent, exponent > 0, for x >= 0; what is NaN or infinite stays so.  0 below the smallest
// normal number.
//
// With exponent k = high + low it is 2^n exp((high e - n + low e) log 2 + k l), n the whole number
// nearest to log2(x^k): high e - n is exact, so that the digits of the smallest power are right.
template <class T> SOFT_DICE_INLINE Vec<T> power(Vec<T> x, T exponent) {
  typedef Vec<T> V;
  typedef Limits<T> limits;
  const T k = exponent < T(1e30) ? exponent : T(1e30);  // so that no product below is infinite
  const T high = leading(k), low = k - high, log2 = T(0.693147180559945309417);
  const Split<V> parts = split(x);
  const V l = parts.f - parts.less, high_e = high * parts.e, log2_power = high_e + k * l / log2;
  const V from_below = log2_power < limits::least_exponent ? splat(limits::least_exponent)
                                                           : log2_power;
  const V bounded = from_below > limits::most_exponent ? splat(limits::most_exponent) : from_below;
  const V n = bounded + limits::magic - limits::magic;
  const V normal = exponential((high_e - n + low * parts.e) * log2 + k * l) * power_of_two(n);
  const V finite = log2_power > limits::most_exponent + T(0.5) ? V{} + __builtin_inff() : normal;
  const V y = log2_power < limits::least_exponent || x < limits::smallest ? V{} : finite;
  return x <= limits::largest ? y : x;
}

}  // namespace
}  // namespace soft_dice
