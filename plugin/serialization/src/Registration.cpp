#include "Registration.h"

#include <typeinfo>

#include "openmm/Platform.h"
#include "openmm/serialization/SerializationProxy.h"

#include "FPForce.h"
#include "FPForceProxy.h"

namespace FPForcePlugin {

namespace {

/** "8.5" of "8.5.2". */
std::string minorVersion(const std::string& version) {
    const std::size_t major = version.find('.');
    return version.substr(0, major == std::string::npos ? major : version.find('.', major + 1));
}

/**
 * Runs when the library is loaded, which OpenMM does with everything in its plugin folder: an exception here, or the use of
 * another OpenMM's classes, would make OpenMM itself unusable.
 */
std::string registerProxies() noexcept {
    try {
        std::string problem = versionProblem(FPFORCE_OPENMM_VERSION, OpenMM::Platform::getOpenMMVersion());
        if (problem.empty())
            OpenMM::SerializationProxy::registerProxy(typeid(FPForce), new FPForceProxy());
        return problem;
    } catch (...) {
        return "not loaded";
    }
}

const std::string problemWhenLoaded = registerProxies();

}  // namespace

const std::string& registrationProblem() {
    return problemWhenLoaded;
}

std::string versionProblem(const std::string& built, const std::string& running) {
    if (minorVersion(built) == minorVersion(running))
        return "";
    return "the native plugin was built against openmm " + built + " and cannot be used with openmm " + running +
           "; pip install openmm==" + built + ", or install fpforce again";
}

}  // namespace FPForcePlugin
