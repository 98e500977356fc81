/**
 * libFPForcePlugin.so, which OpenMM loads from its plugin folder. It loads the libFPForce.so that was built for the OpenMM that runs:
 * ../fpforce/8.5/libFPForce.so beside 8.5.2. That makes FPForce known to OpenMM's serializer, so that Systems in XML load in programs
 * that know nothing of fpforce. Where there is none for this OpenMM it does nothing.
 *
 * It uses one C function of libOpenMM.so and nothing of the C++ library, hence one build of it goes with every OpenMM.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern "C" const char* OpenMM_Platform_getOpenMMVersion();

namespace {

void* library = nullptr;

/** Length of "8.5" in "8.5.2"; OpenMM 8.4.0 calls itself "8.4". */
int lengthOfMinorVersion(const char* version) {
    const char* end = strchr(version, '.');
    end = end ? strchr(end + 1, '.') : nullptr;
    return static_cast<int>(end ? end - version : static_cast<long>(strlen(version)));
}

__attribute__((constructor)) void load() {
    Dl_info self;
    if (!dladdr(reinterpret_cast<void*>(&load), &self))
        return;
    const char* version = OpenMM_Platform_getOpenMMVersion();
    const char* name = strrchr(self.dli_fname, '/');
    const int folder = name ? static_cast<int>(name - self.dli_fname) : 0;
    char path[4096];
    const int length = snprintf(path, sizeof path, "%.*s/../fpforce/%.*s/libFPForce.so", folder, self.dli_fname,
                                lengthOfMinorVersion(version), version);
    if (length < 0 || length >= static_cast<int>(sizeof path) || access(path, R_OK) != 0)
        return;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fprintf(stderr, "fpforce: the native plugin cannot be loaded (%s); install fpforce again\n", dlerror());
}

}  // namespace

/** Must be there: OpenMM would otherwise find, and run again, that of a library which this one is linked to. */
extern "C" __attribute__((visibility("default"))) void registerPlatforms() {
}

/** OpenMM calls it once all platforms are loaded. */
extern "C" __attribute__((visibility("default"))) void registerKernelFactories() {
    if (void* found = library ? dlsym(library, "fpforce_register_device_kernels") : nullptr)
        reinterpret_cast<void (*)()>(found)();
}
