#ifndef FPFORCE_HOST_NOTICE_H_
#define FPFORCE_HOST_NOTICE_H_

#include <string>

namespace FPForcePlugin {

/**
 * Says on standard error, once in a process for each platform and kind of model, that FPForce is computed on the host, and why: OpenMM
 * has no log of its own. Of a long reason, such as the log of a driver's compiler, all goes into a file that the line names.
 */
void noticeHost(const std::string& platform, const std::string& kind, const std::string& reason);

/** The first line of a reason, of bounded length. */
std::string shortened(const std::string& reason);

}  // namespace FPForcePlugin

#endif
