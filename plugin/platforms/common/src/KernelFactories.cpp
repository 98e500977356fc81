/**
 * Reaches the devices of OpenMM's three GPU platforms without a header of OpenCL, CUDA or HIP: OpenMM's own *Platform.h name
 * OpenCLContext, CudaContext and HipContext and do not define them.
 */
#include "KernelFactories.h"

#include "openmm/KernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmm/Platform.h"
#include "openmm/cuda/CudaPlatform.h"
#include "openmm/hip/HipPlatform.h"
#include "openmm/opencl/OpenCLPlatform.h"

#include "CommonFPForceKernel.h"
#include "Registration.h"

using namespace OpenMM;

namespace FPForcePlugin {

namespace {

// Whether the classes are laid out as we think. OpenMM 8.3 returns a reference, on OpenCL one to nothing: it cannot be asked.
[[maybe_unused]] bool belongsTo(const ContextImpl* found, const ContextImpl& context) {
    return found == &context;
}
[[maybe_unused]] bool belongsTo(const ContextImpl&, const ContextImpl&) {
    return true;
}

template <class PlatformOfDevice>
class DeviceKernelFactory : public KernelFactory {
public:
    KernelImpl* createKernelImpl(std::string name, const Platform& platform, ContextImpl& context) const override {
        const auto& contexts = static_cast<typename PlatformOfDevice::PlatformData*>(context.getPlatformData())->contexts;
        if (contexts.size() != 1)
            throw OpenMMException("the context has " + std::to_string(contexts.size()) + " devices, and the kernel runs on one");
        // Each of the three derives from ComputeContext alone and not virtually (plugin/tests/device_layout.cpp asserts it against the
        // vendors' headers), so that the address is the same; static_cast would need the definition.
        auto* device = reinterpret_cast<ComputeContext*>(contexts[0]);
        if (!belongsTo(device->getContextImpl(), context))
            throw OpenMMException("the device cannot be reached through this build of OpenMM");
        return new CommonFPForceKernel(name, platform, *device);
    }
};

template <class PlatformOfDevice>
void registerWith(const char* name) {
    for (int i = 0; i < Platform::getNumPlatforms(); ++i)
        if (Platform::getPlatform(i).getName() == name)
            Platform::getPlatform(i).registerKernelFactory(CalcFPForceKernel::Name(), new DeviceKernelFactory<PlatformOfDevice>());
}

}  // namespace

}  // namespace FPForcePlugin

void fpforce_register_device_kernels() {
    if (!FPForcePlugin::registrationProblem().empty())
        return;
    FPForcePlugin::registerWith<OpenCLPlatform>("OpenCL");
    FPForcePlugin::registerWith<CudaPlatform>("CUDA");
    FPForcePlugin::registerWith<HipPlatform>("HIP");
}
