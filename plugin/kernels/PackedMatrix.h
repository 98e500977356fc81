#ifndef FPFORCE_PACKED_MATRIX_H_
#define FPFORCE_PACKED_MATRIX_H_

#include "AlignedBuffer.h"

namespace FPForcePlugin {

/** What the matrix product reads: B (depth x columns) in panels of `panel` columns, each contiguous in memory. */
template <class Real>
struct PanelView {
    const Real* data;
    int depth, columns, panel;
    /** Columns with the padding of the last panel, which holds zeros. */
    int paddedColumns() const {
        return (columns + panel - 1) / panel * panel;
    }
};

/** A constant matrix, packed once for the register tiles of one instruction set. */
template <class Real>
class PackedMatrix {
public:
    PackedMatrix() = default;
    /** entry(k, j) gives the element of row k < depth and column j < columns. */
    template <class Entry>
    PackedMatrix(int depth, int columns, int panel, Entry entry) : depth_(depth), columns_(columns), panel_(panel) {
        const int padded = view().paddedColumns();
        data_ = AlignedBuffer<Real>(static_cast<std::size_t>(padded) * static_cast<std::size_t>(depth));
        for (int j = 0; j < columns; ++j)
            for (int k = 0; k < depth; ++k)
                data_[(static_cast<std::size_t>(j / panel) * depth + k) * panel + j % panel] = static_cast<Real>(entry(k, j));
    }
    PanelView<Real> view() const {
        return {data_.data(), depth_, columns_, panel_};
    }

private:
    int depth_ = 0, columns_ = 0, panel_ = 1;
    AlignedBuffer<Real> data_;
};

}  // namespace FPForcePlugin

#endif
