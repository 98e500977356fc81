#ifndef FPFORCE_FPFORCE_KERNELS_H_
#define FPFORCE_FPFORCE_KERNELS_H_

#include <string>
#include <vector>

#include "openmm/KernelImpl.h"
#include "openmm/Platform.h"
#include "openmm/internal/ContextImpl.h"

#include "FPForce.h"

namespace FPForcePlugin {

/**
 * Computes an FPForce where a Platform keeps the positions, in place of the host's Evaluator. A Platform need not have it.
 */
class CalcFPForceKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "CalcFPForce";
    }
    CalcFPForceKernel(const std::string& name, const OpenMM::Platform& platform) : KernelImpl(name, platform) {
    }
    /**
     * particles: those of every replica, one after another; onAnyDevice: also on one that is the host's processor, whose own code is
     * faster. Throws, saying why, if this device cannot compute the force, or had better not.
     */
    virtual void initialize(const FPForce& force, const std::vector<int>& particles, bool onAnyDevice) = 0;
    /** Adds forces and energy, multiplying the network by `scale`; returns that part of the energy that it did not add. */
    virtual double execute(double scale, bool includeForces, bool includeEnergy) = 0;
    /** Takes the force's present model and precision; throws, and keeps what it had, if it cannot. */
    virtual void copyParametersToContext(const FPForce& force) = 0;
};

}  // namespace FPForcePlugin

#endif
