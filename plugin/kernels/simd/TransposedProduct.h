#ifndef FPFORCE_SIMD_TRANSPOSED_PRODUCT_H_
#define FPFORCE_SIMD_TRANSPOSED_PRODUCT_H_

/**
 * C = A B^T, the way back through a linear layer whose constant matrix B is packed for the way forward (MatrixProduct.h), so
 * that one copy serves both ways.
 *
 * The columns of B, over which the sum goes, lie in the lanes. Every element of C is one chain of fused multiply-adds in each
 * lane, and the lanes are added up in the same order for each: results do not depend on how rows are split among tiles,
 * blocks and threads. The weights are read once for all rows.
 */

#include "MatrixProduct.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/** Columns and most rows of a tile of C: as many accumulators as the largest tile of the forward product has. */
constexpr int transposedColumns = 4;
constexpr int transposedRows = tileRows * panelVectors / transposedColumns;

template <int... I>
struct Indices {};
template <int Count, int... I>
struct IndicesBelow : IndicesBelow<Count - 1, Count - 1, I...> {};
template <int... I>
struct IndicesBelow<0, I...> {
    typedef Indices<I...> Type;
};

/** Lane i of the result is lane Pattern::lane(i) of a and b, one after the other. */
template <class Pattern, class S, int... I>
inline typename S::V shuffle(typename S::V a, typename S::V b, Indices<I...>) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, Pattern::lane(I)...);
#else
    return __builtin_shuffle(a, b, typename S::Bits{Pattern::lane(I)...});
#endif
}

/** Half of a's sums next to half of b's; lanes two apart for float and neighbours for double, which is one instruction each. */
template <class S, int Part>
struct Neighbours {
    static constexpr int lane(int i) {
        return (sizeof(typename S::Real) == 4 ? (i & ~3) + (i & 3) / 2 + 2 * Part : (i & ~1) + Part) + (i & 1) * S::lanes;
    }
};
/** In each four lanes, two of a and two of b. */
template <class S, int Part>
struct Halves {
    static constexpr int lane(int i) {
        return (i & ~3) + (i & 1) + 2 * Part + ((i & 2) != 0 ? S::lanes : 0);
    }
};

template <template <class, int> class Pattern, class S>
inline typename S::V addShuffled(typename S::V a, typename S::V b) {
    typedef typename IndicesBelow<S::lanes>::Type All;
    return shuffle<Pattern<S, 0>, S>(a, b, All()) + shuffle<Pattern<S, 1>, S>(a, b, All());
}

/** The sum of all groups of four lanes, to `to`. */
template <class Real, int Bytes>
inline void storeFolded(typename VectorOf<Real, Bytes>::Type v, Real* to) {
    if constexpr (Bytes > 4 * static_cast<int>(sizeof(Real))) {
        typename VectorOf<Real, Bytes / 2>::Type halves[2];
        std::memcpy(halves, &v, Bytes);
        storeFolded<Real, Bytes / 2>(halves[0] + halves[1], to);
    } else {
        std::memcpy(to, &v, Bytes);
    }
}

/** The sum over the lanes of each of four vectors, to `to`. */
template <class Real>
inline void storeSums(const typename Simd<Real>::V* v, Real* to) {
    typedef Simd<Real> S;
    const typename S::V first = addShuffled<Neighbours, S>(v[0], v[1]), second = addShuffled<Neighbours, S>(v[2], v[3]);
    if constexpr (S::lanes == 2) {
        S::store(to, first);
        S::store(to + 2, second);
    } else {
        storeFolded<Real, FPFORCE_VECTOR_BYTES>(addShuffled<Halves, S>(first, second), to);
    }
}

/** `tiles` tiles below one another, each of Rows rows and the columns of C that belong to the rows of B from b.data on. */
template <int Rows, class Real>
__attribute__((noinline)) void transposedTiles(int tiles, const Real* a, std::ptrdiff_t lda, const Right<Real, panelVectors>& b, int vectors, Real* c,
                                               std::ptrdiff_t ldc) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    constexpr int columns = transposedColumns;
    for (int tile = 0; tile < tiles; ++tile) {
        V sums[Rows][columns] = {};
        const auto add = [&](const Real* left, const Real* right) __attribute__((always_inline)) {
            V factors[Rows];
            for (int i = 0; i < Rows; ++i)
                factors[i] = S::load(left + i * lda);
            for (int k = 0; k < columns; ++k) {
                const V row = S::load(right + k * b.rowStride);
                for (int i = 0; i < Rows; ++i)
                    sums[i][k] += factors[i] * row;
            }
        };
        const Real *left = a, *right = b.data;
        int v = 0;
        for (; v + panelVectors <= vectors; v += panelVectors) {
            for (int part = 0; part < panelVectors; ++part)
                add(left + part * S::lanes, right + part * S::lanes);
            left += panelColumns<Real>();
            right += b.panelStride;
        }
        for (; v < vectors; ++v, left += S::lanes, right += S::lanes)
            add(left, right);
        for (int i = 0; i < Rows; ++i)
            storeSums(sums[i], c + i * ldc);
        a += Rows * lda;
        c += Rows * ldc;
    }
}

template <int Rows, class Real>
inline void transposedTilesOf(int rows, int tiles, const Real* a, std::ptrdiff_t lda, const Right<Real, panelVectors>& b, int vectors, Real* c,
                              std::ptrdiff_t ldc) {
    if constexpr (Rows > 0) {
        if (rows == Rows)
            transposedTiles<Rows>(tiles, a, lda, b, vectors, c, ldc);
        else
            transposedTilesOf<Rows - 1>(rows, tiles, a, lda, b, vectors, c, ldc);
    }
}

/**
 * C = A B^T for `rows` rows of A (row length lda, its columns rounded up to whole vectors with finite numbers). C's rows are as
 * long as B has rows in a panel; there are zeros for those that only fill it up.
 */
template <class Real>
inline void transposedProduct(int rows, const Real* a, std::ptrdiff_t lda, const PanelView<Real>& matrix, Real* c, std::ptrdiff_t ldc) {
    Right<Real, panelVectors> b = packed(matrix);
    const int vectors = (matrix.columns + Simd<Real>::lanes - 1) / Simd<Real>::lanes;
    // Tiles of two sizes, one row apart, so that none is so small that it waits for its sums.
    const int tiles = (rows + transposedRows - 1) / transposedRows, size = rows / tiles, larger = rows % tiles;
    for (int k = 0; k < matrix.paddedDepth(); k += transposedColumns) {
        transposedTilesOf<transposedRows>(size + 1, larger, a, lda, b, vectors, c, ldc);
        const std::ptrdiff_t done = static_cast<std::ptrdiff_t>(larger) * (size + 1);
        transposedTilesOf<transposedRows>(size, tiles - larger, a + done * lda, lda, b, vectors, c + done * ldc, ldc);
        b.data += transposedColumns * b.rowStride;
        c += transposedColumns;
    }
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
