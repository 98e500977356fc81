#ifndef FPFORCE_ENERGY_DENSE_LAYERS_H_
#define FPFORCE_ENERGY_DENSE_LAYERS_H_

/** What the networks of InternalPlan.h have in common: the way back through hidden layers of one width. */

#include "../simd/MatrixProduct.h"
#include "InternalPlan.h"
#include "Kernels.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/**
 * Writes the slopes along the inputs of the first of `depth` layers, rows of inputLength.
 *
 * slopes: for each layer rows of `length`: the activation's, of the last one the energy's along its sums; those below become
 * the energy's, too. deltas: room for the rows of one layer.
 */
template <class Real>
inline void backThroughLayers(const typename InternalPlan<Real>::Layer* layers, int depth, int rows, int length, Real* slopes, Real* deltas,
                              Real* inputs, int inputLength) {
    typedef Simd<Real> S;
    const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(rows) * length;
    for (int l = depth - 1; l > 0; --l) {
        Real* below = slopes + (l - 1) * size;
        product<Into::Replace, Real>(rows, {slopes + l * size, length}, packed(layers[l].backward.view()), nullptr, deltas, length);
        for (std::ptrdiff_t i = 0; i < size; i += S::lanes)
            S::store(below + i, S::load(below + i) * S::load(deltas + i));
    }
    product<Into::Replace, Real>(rows, {slopes, length}, packed(layers[0].backward.view()), nullptr, inputs, inputLength);
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
