#ifndef FPFORCE_REGISTRATION_H_
#define FPFORCE_REGISTRATION_H_

#include <string>

namespace FPForcePlugin {

/** "", or why FPForce was not made known to OpenMM's serializer when this library was loaded. */
const std::string& registrationProblem();

/**
 * "", or why a plugin built against OpenMM `built` must not be used with OpenMM `running`. OpenMM keeps its binary
 * interface within a minor version at most, so "8.5.2" and "8.5.9" go together, and "8.5.2" and "8.6.1" do not.
 */
std::string versionProblem(const std::string& built, const std::string& running);

}  // namespace FPForcePlugin

#endif
