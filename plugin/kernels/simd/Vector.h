#ifndef FPFORCE_SIMD_VECTOR_H_
#define FPFORCE_SIMD_VECTOR_H_

/**
 * Short vectors of float or double, by the compilers' vector extension, and their elementary functions.
 *
 * In: FPFORCE_ISA, the namespace of one instruction set, and FPFORCE_VECTOR_BYTES, its register size; a translation unit of
 * kernels/isa defines both. Everything here lives in that namespace, so that code for one instruction set can never be
 * linked into another's, and nothing here uses the standard library's templates, whose instances would be shared.
 */

#include <cstdint>
#include <cstring>

namespace FPForcePlugin {
namespace FPFORCE_ISA {

template <class Real, int Bytes>
struct VectorOf;

template <>
struct VectorOf<float, 16> {
    typedef float Type __attribute__((vector_size(16)));
    typedef std::int32_t Bits __attribute__((vector_size(16)));
};
template <>
struct VectorOf<float, 32> {
    typedef float Type __attribute__((vector_size(32)));
    typedef std::int32_t Bits __attribute__((vector_size(32)));
};
template <>
struct VectorOf<float, 64> {
    typedef float Type __attribute__((vector_size(64)));
    typedef std::int32_t Bits __attribute__((vector_size(64)));
};
template <>
struct VectorOf<double, 16> {
    typedef double Type __attribute__((vector_size(16)));
    typedef std::int64_t Bits __attribute__((vector_size(16)));
};
template <>
struct VectorOf<double, 32> {
    typedef double Type __attribute__((vector_size(32)));
    typedef std::int64_t Bits __attribute__((vector_size(32)));
};
template <>
struct VectorOf<double, 64> {
    typedef double Type __attribute__((vector_size(64)));
    typedef std::int64_t Bits __attribute__((vector_size(64)));
};
// Two registers' worth, for float64 next to float32 of as many lanes.
template <>
struct VectorOf<double, 128> {
    typedef double Type __attribute__((vector_size(128)));
    typedef std::int64_t Bits __attribute__((vector_size(128)));
};

/** A vector of `Bytes` bytes (a register, unless fewer lanes are wanted) and what can be done with it. */
template <class RealType, int Bytes = FPFORCE_VECTOR_BYTES>
struct Simd {
    typedef RealType Real;
    typedef typename VectorOf<Real, Bytes>::Type V;
    typedef typename VectorOf<Real, Bytes>::Bits Bits;
    static constexpr int lanes = Bytes / static_cast<int>(sizeof(Real));

    static V load(const Real* from) {
        V v;
        std::memcpy(&v, from, sizeof(V));
        return v;
    }
    static void store(Real* to, V v) {
        std::memcpy(to, &v, sizeof(V));
    }
    static V all(Real value) {
        return value - V{};  // which is value, and folded to it; V{} + value is not where value is -0
    }
    static Bits bits(V v) {
        Bits b;
        std::memcpy(&b, &v, sizeof(V));
        return b;
    }
    static V fromBits(Bits b) {
        V v;
        std::memcpy(&v, &b, sizeof(V));
        return v;
    }
    /** Lane by lane: condition ? yes : no. */
    static V select(Bits condition, V yes, V no) {
        return fromBits((bits(yes) & condition) | (bits(no) & ~condition));
    }
    /** Whether the condition holds in any lane. */
    static bool any(Bits condition) {
        auto joined = condition[0];
        for (int i = 1; i < lanes; ++i)
            joined |= condition[i];
        return joined != 0;
    }
    static V sqrt(V v) {
        for (int i = 0; i < lanes; ++i)
            v[i] = squareRoot(v[i]);
        return v;
    }
    static Real sum(V v) {
        Real total = 0;
        for (int i = 0; i < lanes; ++i)
            total += v[i];
        return total;
    }
    /** e^x to rounding; below the range 0 is approached, above it 1e38 (float) or 1e308 (double); NaN stays NaN. */
    static V exp(V x) {
        return exponential(x, Real());
    }
    /** Natural logarithm of a positive normal x to rounding; NaN stays NaN. */
    static V log(V x) {
        return logarithm(x);
    }

private:
    static float squareRoot(float x) {
        return __builtin_sqrtf(x);
    }
    static double squareRoot(double x) {
        return __builtin_sqrt(x);
    }
    static V clamp(V x, Real low, Real high) {
        x = select(x < all(low), all(low), x);
        return select(x > all(high), all(high), x);
    }
    /** x = n ln 2 + r with |r| <= ln(2)/2; adding `magic` rounds to a whole number, whose low bits are then n. */
    static V reduce(V x, Real log2e, Real magic, Real ln2High, Real ln2Low, V& r) {
        V shifted = x * log2e + magic;
        V n = shifted - magic;
        r = (x - n * ln2High) - n * ln2Low;
        return shifted;
    }
    static V exponential(V x, float) {
        x = clamp(x, -87.0f, 88.0f);
        V r;
        V shifted = reduce(x, 1.44269504f, 12582912.0f, 0.693145752f, 1.42860677e-6f, r);
        V p = all(1.0f / 5040.0f);
        p = p * r + 1.0f / 720.0f;
        p = p * r + 1.0f / 120.0f;
        p = p * r + 1.0f / 24.0f;
        p = p * r + 1.0f / 6.0f;
        p = p * r + 0.5f;
        p = p * r + 1.0f;
        p = p * r + 1.0f;
        return fromBits(bits(p) + (bits(shifted) << 23));
    }
    static V exponential(V x, double) {
        x = clamp(x, -708.0, 709.0);
        V r;
        V shifted = reduce(x, 1.4426950408889634, 6755399441055744.0, 0.6931471805598903, 5.497923018708371e-14, r);
        V p = all(1.0 / 6227020800.0);
        p = p * r + 1.0 / 479001600.0;
        p = p * r + 1.0 / 39916800.0;
        p = p * r + 1.0 / 3628800.0;
        p = p * r + 1.0 / 362880.0;
        p = p * r + 1.0 / 40320.0;
        p = p * r + 1.0 / 5040.0;
        p = p * r + 1.0 / 720.0;
        p = p * r + 1.0 / 120.0;
        p = p * r + 1.0 / 24.0;
        p = p * r + 1.0 / 6.0;
        p = p * r + 0.5;
        p = p * r + 1.0;
        p = p * r + 1.0;
        return fromBits(bits(p) + (bits(shifted) << 52));
    }
    /** x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s), s = (m - 1)/(m + 1). Double only. */
    static V logarithm(V x) {
        static_assert(sizeof(Real) == 8, "the logarithm is written for double");
        const Bits halfRoot = bits(all(0.70710678118654752));
        Bits shift = (bits(x) - halfRoot) >> 52;
        V m = fromBits(bits(x) - (shift << 52));
        // A small whole number becomes a double by adding it to the bits of 1.5 * 2^52.
        const V magic = all(6755399441055744.0);
        V e = fromBits(shift + bits(magic)) - magic;
        V s = (m - 1.0) / (m + 1.0);
        V z = s * s;
        V p = all(1.0 / 21.0);
        p = p * z + 1.0 / 19.0;
        p = p * z + 1.0 / 17.0;
        p = p * z + 1.0 / 15.0;
        p = p * z + 1.0 / 13.0;
        p = p * z + 1.0 / 11.0;
        p = p * z + 1.0 / 9.0;
        p = p * z + 1.0 / 7.0;
        p = p * z + 1.0 / 5.0;
        p = p * z + 1.0 / 3.0;
        V small = 2.0 * s + 2.0 * s * z * p;
        V value = e * 0.6931471805598903 + (small + e * 5.497923018708371e-14);
        return select(x == x, value, x);
    }
};

/** silu(x) = x / (1 + e^-x), and its slope. */
template <class S>
inline typename S::V silu(typename S::V x, typename S::V& slope) {
    typename S::V logistic = 1 / (1 + S::exp(-x));
    typename S::V value = x * logistic;
    slope = logistic + value * (1 - logistic);
    return value;
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
