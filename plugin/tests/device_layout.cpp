/**
 * What platforms/common/src/KernelFactories.cpp takes for granted of a platform's context, asserted against its definition by whoever has
 * the vendor's headers. Compiled and never run, with OpenMM's include folder and optimisation (tests/plugin/test_device_layout.py):
 *
 *   g++ -std=c++17 -O2 -c -o /dev/null -DPLATFORM_OPENCL ... device_layout.cpp      CL/opencl.h, such as Debian's opencl-headers
 *   g++ -std=c++17 -O2 -c -o /dev/null -DPLATFORM_CUDA ... device_layout.cpp        cuda.h and its company
 *   g++ -std=c++17 -O2 -c -o /dev/null -DPLATFORM_HIP -D__HIP_PLATFORM_AMD__ ... device_layout.cpp
 */

#if defined(PLATFORM_OPENCL)
#include "openmm/opencl/OpenCLContext.h"
#include "openmm/opencl/OpenCLPlatform.h"
using Device = OpenMM::OpenCLContext;
using Data = OpenMM::OpenCLPlatform::PlatformData;
#elif defined(PLATFORM_CUDA)
#include "openmm/cuda/CudaContext.h"
#include "openmm/cuda/CudaPlatform.h"
using Device = OpenMM::CudaContext;
using Data = OpenMM::CudaPlatform::PlatformData;
#elif defined(PLATFORM_HIP)
#include "openmm/hip/HipContext.h"
#include "openmm/hip/HipPlatform.h"
using Device = OpenMM::HipContext;
using Data = OpenMM::HipPlatform::PlatformData;
#endif

#include <type_traits>
#include <vector>

static_assert(std::is_base_of_v<OpenMM::ComputeContext, Device>, "a device is a ComputeContext");
static_assert(std::is_same_v<decltype(Data::contexts), std::vector<Device*>>, "PlatformData holds the devices as pointers to them");

/** Ill-formed if ComputeContext were a virtual base. */
Device* downcast(OpenMM::ComputeContext* context) {
    return static_cast<Device*>(context);
}

__attribute__((error("ComputeContext does not lie at the beginning of a device"))) void wrong();

/** Optimised away where the two addresses are always the same; an error of the compiler elsewhere. */
void check(Device* device) {
    if (reinterpret_cast<char*>(static_cast<OpenMM::ComputeContext*>(device)) != reinterpret_cast<char*>(device))
        wrong();
}
