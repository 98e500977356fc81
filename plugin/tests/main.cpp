/** Runs the tests whose names contain the first argument (all without one); exits with 1 if any failed. */

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

#include "Check.h"

int main(int count, char** arguments) {
    int passed = 0, failed = 0;
    for (const FPForcePlugin::Test& test : FPForcePlugin::allTests()) {
        if (count > 1 && std::strstr(test.name, arguments[1]) == nullptr)
            continue;
        const auto start = std::chrono::steady_clock::now();
        std::string message;
        try {
            test.body();
        } catch (const std::exception& error) {
            message = error.what();
        }
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        ++(message.empty() ? passed : failed);
        std::printf("%s %s (%.2f s)%s%s\n", message.empty() ? "ok    " : "FAILED", test.name, seconds.count(),
                    message.empty() ? "" : "\n       ", message.c_str());
        std::fflush(stdout);
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
