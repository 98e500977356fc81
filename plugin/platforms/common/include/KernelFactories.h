#ifndef FPFORCE_KERNEL_FACTORIES_H_
#define FPFORCE_KERNEL_FACTORIES_H_

#include "FPForceExport.h"

namespace FPForcePlugin {

/** Makes the device kernel known to those of OpenMM's OpenCL, CUDA and HIP platforms that are there; nothing beside another OpenMM. */
FPFORCE_EXPORT void registerDeviceKernels();

}  // namespace FPForcePlugin

#endif
