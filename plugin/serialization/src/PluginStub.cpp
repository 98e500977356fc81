/**
 * libFPForcePlugin.so, which OpenMM loads from its plugin folder. It is linked to libFPForce.so, whose loading makes FPForce known to
 * OpenMM's serializer: Systems in XML then load in programs that know nothing of fpforce.
 */
#include "KernelFactories.h"

/** Must be there: OpenMM would otherwise find, and run again, that of a library which this one is linked to. */
extern "C" FPFORCE_EXPORT void registerPlatforms() {
}

/** OpenMM calls it once all platforms are loaded. */
extern "C" FPFORCE_EXPORT void registerKernelFactories() {
    FPForcePlugin::registerDeviceKernels();
}
