#ifndef FPFORCE_ENERGY_KERNELS_H_
#define FPFORCE_ENERGY_KERNELS_H_

/**
 * The seam between the parts compiled once and those compiled for every instruction set: plain structures of pointers, and a
 * table of functions. A kernel for another processor, such as a GPU, would stand beside these behind the same Evaluator.
 */

#include <cstddef>

#include "PriorPlan.h"
#include "InternalPlan.h"
#include "GraphTransformerPlan.h"

namespace FPForcePlugin {

/**
 * Replicas of one molecule, one after another: positions and forces (replicas x beads x 3) in nm and kJ/mol/nm.
 * A kernel adds its force times `scale` to `forces` and writes its energies (replicas), unscaled, in kJ/mol.
 */
struct Batch {
    const double* positions;
    double* forces;
    double* energies;
    int replicas, beads;
    double inverseLength;  // 1/nm: positions to normalised units
    double kT;             // kJ/mol
    double scale;
};

/** The functions of one instruction set; workspaces are in bytes, for up to `replicas` replicas. */
template <class Real>
struct KernelTable {
    int panel, lanes;  // columns in a panel of the matrix product, and in one of its vectors
    std::size_t (*priorWorkspace)(const PriorPlan&);
    void (*prior)(const PriorPlan&, const Batch&, char* workspace);
    std::size_t (*internalWorkspace)(const InternalPlan<Real>&, int replicas);
    void (*internal)(const InternalPlan<Real>&, const Batch&, char* workspace);
    std::size_t (*graphTransformerWorkspace)(const GraphTransformerPlan<Real>&, int replicas);
    void (*graphTransformer)(const GraphTransformerPlan<Real>&, const Batch&, char* workspace);
};

namespace portable {
template <class Real>
const KernelTable<Real>& kernelTable();
}
#ifdef FPFORCE_X86_64
namespace x86_64_v3 {
template <class Real>
const KernelTable<Real>& kernelTable();
}
namespace x86_64_v4 {
template <class Real>
const KernelTable<Real>& kernelTable();
}
#endif

}  // namespace FPForcePlugin

#endif
