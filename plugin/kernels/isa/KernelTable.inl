/**
 * All kernels for one instruction set. The including file defines FPFORCE_ISA and FPFORCE_VECTOR_BYTES and is compiled
 * for that instruction set; nothing in it may run before the Evaluator has checked that the processor has it.
 */

#include "../energy/GraphTransformerKernel.h"
#include "../energy/InternalKernel.h"
#include "../energy/PriorKernel.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

template <class Real>
const KernelTable<Real>& kernelTable() {
    static constexpr KernelTable<Real> table = {panelColumns<Real>(), Simd<Real>::lanes, priorWorkspace, prior, internalWorkspace<Real>, internal<Real>,
                                                graphTransformerWorkspace<Real>, graphTransformer<Real>};
    return table;
}

template const KernelTable<float>& kernelTable<float>();
template const KernelTable<double>& kernelTable<double>();

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin
