#ifndef FPFORCE_EVALUATOR_H_
#define FPFORCE_EVALUATOR_H_

#include <memory>
#include <string>

#include "model/ModelFile.h"

namespace FPForcePlugin {

enum class Precision { Single, Double };

/** Which parts of the energy are evaluated; a part left out contributes nothing and costs nothing. */
enum class Terms { All, Network, Prior };

/** kJ/mol, summed over replicas, not scaled. */
struct Energy {
    double network = 0.0, prior = 0.0;
};

/**
 * The learned energy of a batch of molecules on the host's processor. Knows nothing of OpenMM.
 *
 * The network runs in the precision asked for; geometry, the prior and all sums over replicas are float64.
 */
class Evaluator {
public:
    /**
     * threads: how many to use at most, the calling one included; 0 takes as many as the machine has (or
     * OPENMM_CPU_THREADS says), but one alone where a call is too little work to share.
     *
     * The environment variable FPFORCE_ISA (portable, x86-64-v3, x86-64-v4) forces an instruction set.
     * Throws ModelError for a model that cannot be evaluated, and for an instruction set that the processor lacks.
     */
    static std::unique_ptr<Evaluator> create(const ModelFile& model, Precision precision, int threads, Terms terms = Terms::All);
    virtual ~Evaluator() = default;
    /** Beads of one molecule. */
    virtual int beads() const = 0;
    /** The instruction set in use. */
    virtual const char* isa() const = 0;
    /** Memory in use beyond the weights, in bytes. */
    virtual std::size_t workspaceBytes() const = 0;
    /**
     * Energies, and forces of networkScale * network + priorScale * prior.
     *
     * positions, forces: replicas x beads x 3, in nm and kJ/mol/nm, contiguous; forces are overwritten. Not thread-safe.
     * Allocates only when a number of replicas needs more memory than any before. A replica whose positions are not
     * finite has an energy and forces that are not; the others are not touched by it.
     */
    virtual Energy evaluate(const double* positions, int replicas, double networkScale, double priorScale, double* forces) = 0;
};

/** Whether energy models of this kind (fpforce.json's model.kind) can be evaluated. */
bool evaluatorSupports(const std::string& kind);

}  // namespace FPForcePlugin

#endif
