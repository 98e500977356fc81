#ifndef FPFORCE_KERNEL_FACTORIES_H_
#define FPFORCE_KERNEL_FACTORIES_H_

#include "FPForceExport.h"

/** Makes the device kernel known to those of OpenMM's OpenCL, CUDA and HIP platforms that are there; nothing beside another OpenMM. */
extern "C" FPFORCE_EXPORT void fpforce_register_device_kernels();

#endif
