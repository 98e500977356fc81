#ifndef FPFORCE_FPFORCEIMPL_H_
#define FPFORCE_FPFORCEIMPL_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "openmm/Kernel.h"
#include "openmm/Vec3.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/internal/CustomCPPForceImpl.h"

#include "Evaluator.h"
#include "FPForce.h"

namespace FPForcePlugin {

/**
 * An FPForce inside one Context. Where the Platform has a CalcFPForceKernel that can compute the model, that does everything.
 * Elsewhere this brings the replicas' positions into one array (nothing to do where they are the System's first particles, in
 * order), has the Evaluator compute energies and forces, and brings the forces back.
 */
class FPForceImpl : public OpenMM::CustomCPPForceImpl {
public:
    explicit FPForceImpl(const FPForce& owner);
    /** Checks the replicas against the System, reads the model, and decides where it is computed. */
    void initialize(OpenMM::ContextImpl& context) override;
    double calcForcesAndEnergy(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, int groups) override;
    const FPForce& getOwner() const override {
        return owner_;
    }
    /** On the host. Overwrites the forces (kJ/mol/nm) of all particles, with zero for those in no replica; returns the energy (kJ/mol). */
    double computeForce(OpenMM::ContextImpl& context, const std::vector<OpenMM::Vec3>& positions,
                        std::vector<OpenMM::Vec3>& forces) override;
    std::map<std::string, double> getDefaultParameters() override;
    /** A chain through the particles of each replica, so that OpenMM sees one molecule. */
    std::vector<std::pair<int, int>> getBondedParticles() const override;
    /** See FPForce::updateParametersInContext(). */
    void updateParametersInContext(OpenMM::ContextImpl& context);
    /** See FPForce::getEvaluationInContext(). */
    const std::string& evaluation() const {
        return evaluation_;
    }

private:
    /** Prepares the Platform's own kernel; returns why it has to be the host, or "" if it need not. */
    std::string prepareDevice(OpenMM::ContextImpl& context);
    void prepareHost();
    double scaleIn(OpenMM::ContextImpl& context) const;
    std::unique_ptr<Evaluator> makeEvaluator() const;
    /** Particles of all replicas, one after another; throws unless every one exists and is used once. */
    std::vector<int> checkedParticles(int particlesOfSystem) const;
    double evaluate(double scale, const std::vector<OpenMM::Vec3>& positions, std::vector<OpenMM::Vec3>& forces);

    const FPForce& owner_;
    std::string kind_;
    FPForce::Terms terms_;
    std::string scaleParameter_;  // "" if nothing scales the network
    std::vector<int> particles_;
    int replicas_ = 0;
    bool inPlace_ = false;  // particles_ is 0, 1, 2, ...
    std::vector<OpenMM::Vec3> gatheredPositions_, gatheredForces_;
    int beads_ = 0;
    std::string evaluation_;
    OpenMM::Kernel kernel_;  // on a device
    bool onDevice_ = false;
    std::unique_ptr<Evaluator> evaluator_;  // on the host
};

}  // namespace FPForcePlugin

#endif
