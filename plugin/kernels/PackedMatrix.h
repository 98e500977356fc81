#ifndef FPFORCE_PACKED_MATRIX_H_
#define FPFORCE_PACKED_MATRIX_H_

#include "AlignedBuffer.h"

namespace FPForcePlugin {

/** What the matrix product reads: B (depth x columns) in panels of `panel` columns and `panelRows` rows, each contiguous in memory. */
template <class Real>
struct PanelView {
    const Real* data;
    int depth, columns, panel, panelRows;
    /** Columns with the padding of the last panel, which holds zeros. */
    int paddedColumns() const {
        return (columns + panel - 1) / panel * panel;
    }
    /** Rows with those, of zeros, that fill up a panel's columns where the matrix is transposed. */
    int paddedDepth() const {
        return (depth + panel - 1) / panel * panel;
    }
};

/** The ways that a packed matrix B will be used: A B alone, or A B^T too. */
enum class Ways { Forward, Both };

/** A constant matrix, packed once for the register tiles of one instruction set. */
template <class Real>
class PackedMatrix {
public:
    PackedMatrix() = default;
    /** entry(k, j) gives the element of row k < depth and column j < columns. */
    template <class Entry>
    PackedMatrix(int depth, int columns, int panel, Entry entry, Ways ways = Ways::Forward)
        : depth_(depth), columns_(columns), panel_(panel) {
        panelRows_ = ways == Ways::Both ? view().paddedDepth() + gap : depth;
        const int padded = view().paddedColumns();
        data_ = AlignedBuffer<Real>(static_cast<std::size_t>(padded) * static_cast<std::size_t>(panelRows_));
        for (int j = 0; j < columns; ++j)
            for (int k = 0; k < depth; ++k)
                data_[(static_cast<std::size_t>(j / panel) * panelRows_ + k) * panel + j % panel] = static_cast<Real>(entry(k, j));
    }
    PanelView<Real> view() const {
        return {data_.data(), depth_, columns_, panel_, panelRows_};
    }

private:
    /** Rows between panels: A B^T reads the same few rows of all panels, which should not share the cache's sets. */
    static constexpr int gap = 4;
    int depth_ = 0, columns_ = 0, panel_ = 1, panelRows_ = 0;
    AlignedBuffer<Real> data_;
};

}  // namespace FPForcePlugin

#endif
