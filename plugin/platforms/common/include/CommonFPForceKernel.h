#ifndef FPFORCE_COMMON_FPFORCE_KERNEL_H_
#define FPFORCE_COMMON_FPFORCE_KERNEL_H_

#include <memory>
#include <string>
#include <vector>

#include "DeviceTerm.h"
#include "internal/FPForceKernels.h"

namespace FPForcePlugin {

/** An FPForce on a device of OpenMM's OpenCL, CUDA or HIP platform: a DeviceTerm for the prior and one for the network. */
class CommonFPForceKernel : public CalcFPForceKernel {
public:
    CommonFPForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ComputeContext& cc);
    ~CommonFPForceKernel() override;
    void initialize(const FPForce& force, const std::vector<int>& particles, bool onAnyDevice) override;
    double execute(double scale, bool includeForces, bool includeEnergy) override;
    void copyParametersToContext(const FPForce& force) override;

private:
    class Reorder;
    struct Terms;
    std::unique_ptr<Terms> makeTerms(const FPForce& force);
    /** OpenMM has moved particles about in its arrays. */
    void findParticles();

    OpenMM::ComputeContext& cc_;
    std::vector<int> particles_;  // of the System, for every bead
    std::unique_ptr<OpenMM::ArrayInterface> deviceParticles_;
    std::unique_ptr<Terms> terms_;
};

}  // namespace FPForcePlugin

#endif
