#include "internal/HostNotice.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <set>

#include <unistd.h>

namespace FPForcePlugin {

namespace {

/** Writes the text to a new file in the folder for temporary files; its path, or "" if that cannot be. */
std::string writtenToFile(const std::string& text) {
    const char* folder = std::getenv("TMPDIR");
    std::string path = std::string(folder != nullptr && *folder != '\0' ? folder : "/tmp") + "/fpforce-kernel-XXXXXX";
    const int file = ::mkstemp(path.data());
    if (file < 0)
        return "";
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t written = ::write(file, text.data() + done, text.size() - done);
        if (written <= 0)
            break;
        done += static_cast<std::size_t>(written);
    }
    ::close(file);
    return done == text.size() ? path : "";
}

}  // namespace

void noticeHost(const std::string& platform, const std::string& kind, const std::string& reason) {
    static std::mutex mutex;
    static std::set<std::string> noticed;
    const std::lock_guard<std::mutex> lock(mutex);
    if (!noticed.insert(platform + " " + kind).second)
        return;
    const std::string line = shortened(reason);
    const std::string path = line == reason ? "" : writtenToFile(reason);
    std::cerr << "fpforce: FPForce on the platform " << platform << " is computed on the host: " << line
              << (path.empty() ? "" : " ... (all of it is in " + path + ")") << std::endl;
}

std::string shortened(const std::string& reason) {
    constexpr std::size_t longest = 200;
    return reason.substr(0, std::min(reason.find('\n'), longest));
}

}  // namespace FPForcePlugin
