#ifndef FPFORCE_SIMD_MATRIX_PRODUCT_H_
#define FPFORCE_SIMD_MATRIX_PRODUCT_H_

/**
 * C = A B + bias, the one matrix product of all the networks: A of few rows (replicas, beads, heads), B a constant matrix
 * packed in panels or a small matrix that was just computed.
 *
 * Columns lie in the lanes, a tile of rows x panels of C in registers. Every element of C is one chain of fused
 * multiply-adds over k in ascending order, whatever tile it falls into: results do not depend on how rows are split
 * among tiles, blocks and threads.
 */

#include "../PackedMatrix.h"
#include "Vector.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/** Vectors of a panel of constants, and rows of the largest tile: as many accumulators as the registers hold. */
constexpr int panelVectors = 2;
constexpr int tileRows = FPFORCE_VECTOR_BYTES == 64 ? 12 : 6;

template <class Real>
constexpr int panelColumns() {
    return panelVectors * Simd<Real>::lanes;
}

/** How the result is combined with what C held. */
enum class Into { Replace, Add };

/** A: element (i, k) is data[i * row + k * column]; so its transpose is A with row and column exchanged. */
template <class Real>
struct Left {
    const Real* data;
    std::ptrdiff_t row, column = 1;
};

/**
 * B: panels of `Vectors` registers' columns, panelStride apart, their rows rowStride apart. A row-major matrix is one whose
 * panels lie side by side; its rows must have room for whole vectors.
 */
template <class Real, int Vectors>
struct Right {
    static constexpr int vectors = Vectors, panelColumns = Vectors * Simd<Real>::lanes;
    const Real* data;
    std::ptrdiff_t rowStride, panelStride;
    int depth, panels;
};

template <class Real>
inline Right<Real, panelVectors> packed(const PanelView<Real>& b) {
    return {b.data, b.panel, static_cast<std::ptrdiff_t>(b.panelRows) * b.panel, b.depth, b.paddedColumns() / b.panel};
}

/** A row-major matrix, its columns rounded up to whole vectors. */
template <class Real>
inline Right<Real, 1> rowMajor(const Real* data, std::ptrdiff_t rowStride, int depth, int columns) {
    constexpr int lanes = Simd<Real>::lanes;
    return {data, rowStride, lanes, depth, (columns + lanes - 1) / lanes};
}

/** One register tile: Rows rows of A times Panels panels of B, to C (row length ldc). */
template <int Rows, int Panels, Into into, class Real, int Vectors>
inline __attribute__((always_inline)) void productTile(const Left<Real>& a, const Right<Real, Vectors>& b, const Real* bias, Real* __restrict c,
                                                       std::ptrdiff_t ldc) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    constexpr int columns = Vectors * S::lanes, lanes = S::lanes;
    V sums[Rows][Panels][Vectors];
    for (int p = 0; p < Panels; ++p)
        for (int v = 0; v < Vectors; ++v) {
            const V start = bias == nullptr ? V{} : S::load(bias + p * columns + v * lanes);
            for (int i = 0; i < Rows; ++i)
                sums[i][p][v] = into == Into::Add ? S::load(c + i * ldc + p * columns + v * lanes) + start : start;
        }
    const Real* left = a.data;
    const Real* right = b.data;
    for (int k = 0; k < b.depth; ++k) {
        V row[Panels][Vectors];
        for (int p = 0; p < Panels; ++p)
            for (int v = 0; v < Vectors; ++v)
                row[p][v] = S::load(right + p * b.panelStride + v * lanes);
        for (int i = 0; i < Rows; ++i) {
            const V factor = S::all(left[i * a.row]);
            for (int p = 0; p < Panels; ++p)
                for (int v = 0; v < Vectors; ++v)
                    sums[i][p][v] += factor * row[p][v];
        }
        left += a.column;
        right += b.rowStride;
    }
    for (int i = 0; i < Rows; ++i)
        for (int p = 0; p < Panels; ++p)
            for (int v = 0; v < Vectors; ++v)
                S::store(c + i * ldc + p * columns + v * lanes, sums[i][p][v]);
}

/** All panels for Rows rows, several panels at a time where a single one would leave registers idle. */
template <int Rows, Into into, class Real, int Vectors>
__attribute__((noinline)) void productRows(const Left<Real>& a, Right<Real, Vectors> b, const Real* bias, Real* c, std::ptrdiff_t ldc) {
    constexpr int columns = Right<Real, Vectors>::panelColumns;
    constexpr int room = tileRows * panelVectors / (Rows * Vectors);
    constexpr int wide = room >= 4 ? 4 : room >= 2 ? 2 : 1;
    int p = 0;
    for (; p + wide <= b.panels; p += wide) {
        productTile<Rows, wide, into>(a, b, bias, c, ldc);
        b.data += wide * b.panelStride;
        c += wide * columns;
        bias = bias == nullptr ? nullptr : bias + wide * columns;
    }
    for (; p < b.panels; ++p) {
        productTile<Rows, 1, into>(a, b, bias, c, ldc);
        b.data += b.panelStride;
        c += columns;
        bias = bias == nullptr ? nullptr : bias + columns;
    }
}

template <int Rows, Into into, class Real, int Vectors>
inline void productRemainder(int rows, const Left<Real>& a, const Right<Real, Vectors>& b, const Real* bias, Real* c, std::ptrdiff_t ldc) {
    if constexpr (Rows > 0) {
        if (rows == Rows)
            productRows<Rows, into>(a, b, bias, c, ldc);
        else
            productRemainder<Rows - 1, into>(rows, a, b, bias, c, ldc);
    }
}

/** C (rows x all columns of the panels, row length ldc) = A B + bias (as many columns, or null), or C += that. */
template <Into into = Into::Replace, class Real, int Vectors>
inline void product(int rows, Left<Real> a, const Right<Real, Vectors>& b, const Real* bias, Real* c, std::ptrdiff_t ldc) {
    int i = 0;
    for (; i + tileRows <= rows; i += tileRows) {
        productRows<tileRows, into>(a, b, bias, c, ldc);
        a.data += tileRows * a.row;
        c += tileRows * ldc;
    }
    productRemainder<tileRows - 1, into>(rows - i, a, b, bias, c, ldc);
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
