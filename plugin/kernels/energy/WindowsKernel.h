#ifndef FPFORCE_ENERGY_WINDOWS_KERNEL_H_
#define FPFORCE_ENERGY_WINDOWS_KERNEL_H_

/**
 * Energies of stretches of beads (InternalPlan.h) and their slopes along the features. The stretches of all replicas are the
 * rows of the matrix products, those of one replica one after the other.
 */

#include "../simd/MatrixProduct.h"
#include "DenseLayers.h"
#include "InternalPlan.h"
#include "Kernels.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/** The pieces of the workspace, for `rows` replicas. */
template <class Real>
struct WindowsWorkspace {
    int inputLength = 0, length = 0;
    Real *inputs = nullptr, *values = nullptr, *deltas = nullptr, *slopes = nullptr;

    WindowsWorkspace() = default;
    WindowsWorkspace(const InternalPlan<Real>& plan, int rows, Arena& arena) {
        const typename InternalPlan<Real>::Windows& windows = plan.windows;
        if (windows.count == 0)
            return;
        const std::size_t m = static_cast<std::size_t>(rows) * static_cast<std::size_t>(windows.count);
        inputLength = windows.layers.data()[0].backward.view().paddedColumns();
        length = windows.length();
        inputs = arena.take<Real>(m * static_cast<std::size_t>(inputLength));
        values = arena.take<Real>(m * static_cast<std::size_t>(length));
        deltas = arena.take<Real>(m * static_cast<std::size_t>(length));
        slopes = arena.take<Real>(m * static_cast<std::size_t>(length) * windows.layers.size());
    }
};

/** Adds a row of `length` numbers for each stretch to the sums of all, and applies the activation; slopes: where it goes. */
template <class Real>
inline void activateWindows(const InternalPlan<Real>& plan, int rows, const Real* bias, Real* sums, Real* slopes) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    const int count = plan.windows.count, length = plan.windows.length();
    for (int row = 0; row < rows; ++row) {
        const Real* own = bias + static_cast<std::ptrdiff_t>(row % count) * length;
        for (int j = 0; j < length; j += S::lanes) {
            const std::ptrdiff_t i = static_cast<std::ptrdiff_t>(row) * length + j;
            V slope;
            S::store(sums + i, silu<S>(S::load(sums + i) + S::load(own + j), slope));
            S::store(slopes + i, slope);
        }
    }
}

/**
 * Writes what the stretches of each replica add to its energy (kJ/mol), from features (row length featureLength), and leaves the
 * slopes along their inputs (kT) for `addWindows`.
 */
template <class Real>
inline void windowLayers(const InternalPlan<Real>& plan, const Batch& batch, const Real* features, int featureLength,
                         const WindowsWorkspace<Real>& work) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    const typename InternalPlan<Real>::Windows& windows = plan.windows;
    const int count = windows.count, rows = batch.replicas * count, length = work.length, depth = static_cast<int>(windows.layers.size());
    const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(rows) * length;
    const typename InternalPlan<Real>::Layer* layers = windows.layers.data();
    const int* feature = windows.feature.data();
    const Real* factor = windows.factor.data();
    for (int row = 0; row < rows; ++row) {
        const Real* from = features + static_cast<std::ptrdiff_t>(row / count) * featureLength;
        Real* to = work.inputs + static_cast<std::ptrdiff_t>(row) * work.inputLength;
        const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(row % count) * windows.inputs;
        for (int k = 0; k < windows.inputs; ++k)
            to[k] = factor[first + k] * from[feature[first + k]];
    }
    const Real* input = work.inputs;
    int inputLength = work.inputLength;
    for (int l = 0; l < depth; ++l) {
        Real* output = l % 2 == 0 ? work.values : work.deltas;
        product<Into::Replace, Real>(rows, {input, inputLength}, packed(layers[l].forward.view()), nullptr, output, length);
        activateWindows(plan, rows, layers[l].bias.data(), output, work.slopes + l * size);
        input = output;
        inputLength = length;
    }
    Real* last = work.slopes + (depth - 1) * size;
    for (int r = 0; r < batch.replicas; ++r) {
        double energy = 0.0;
        for (int w = 0; w < count; ++w) {
            const std::ptrdiff_t start = (static_cast<std::ptrdiff_t>(r) * count + w) * length;
            const Real* out = windows.out.data() + static_cast<std::ptrdiff_t>(w) * length;
            for (int j = 0; j < length; j += S::lanes) {
                const V weight = S::load(out + j);
                energy += static_cast<double>(S::sum(weight * S::load(input + start + j)));
                S::store(last + start + j, weight * S::load(last + start + j));
            }
        }
        batch.energies[r] = batch.kT * energy;
    }
    backThroughLayers<Real>(layers, depth, rows, length, work.slopes, work.deltas, work.inputs, work.inputLength);
}

/** Adds the slopes along the stretches' inputs to those along the features (row length featureLength). */
template <class Real>
inline void addWindows(const InternalPlan<Real>& plan, int replicas, const WindowsWorkspace<Real>& work, Real* slopes, int featureLength) {
    const typename InternalPlan<Real>::Windows& windows = plan.windows;
    const int* feature = windows.feature.data();
    const Real* factor = windows.factor.data();
    for (int row = 0; row < replicas * windows.count; ++row) {
        const Real* from = work.inputs + static_cast<std::ptrdiff_t>(row) * work.inputLength;
        Real* to = slopes + static_cast<std::ptrdiff_t>(row / windows.count) * featureLength;
        const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(row % windows.count) * windows.inputs;
        for (int k = 0; k < windows.inputs; ++k)
            to[feature[first + k]] += factor[first + k] * from[k];
    }
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
