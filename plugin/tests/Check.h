#ifndef FPFORCE_TESTS_CHECK_H_
#define FPFORCE_TESTS_CHECK_H_

/**
 * What the C++ tests need of a framework. TEST(a_claim) { ... } defines a test; the CHECK macros end it with a message when
 * the claim is wrong. main.cpp runs them all.
 */

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

namespace FPForcePlugin {

struct Test {
    const char* name;
    void (*body)();
};

/** Every test of the program, in no particular order. */
inline std::vector<Test>& allTests() {
    static std::vector<Test> tests;
    return tests;
}

struct Registration {
    Registration(const char* name, void (*body)()) {
        allTests().push_back({name, body});
    }
};

[[noreturn]] inline void failCheck(const char* file, int line, const std::string& what) {
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

}  // namespace FPForcePlugin

#define TEST(name)                                                             \
    static void test_##name();                                                 \
    static const FPForcePlugin::Registration entry_##name(#name, test_##name); \
    static void test_##name()

#define CHECK(claim)                                                         \
    do {                                                                     \
        if (!(claim))                                                        \
            FPForcePlugin::failCheck(__FILE__, __LINE__, "not so: " #claim); \
    } while (false)

/** |found - wanted| <= tolerance; false for NaN. */
#define CHECK_CLOSE(found, wanted, tolerance)                                                                                        \
    do {                                                                                                                             \
        const double found_ = (found), wanted_ = (wanted);                                                                           \
        if (!(std::fabs(found_ - wanted_) <= (tolerance)))                                                                           \
            FPForcePlugin::failCheck(__FILE__, __LINE__,                                                                             \
                                     #found " is " + std::to_string(found_) + ", expected " + std::to_string(wanted_) + " within " + \
                                         std::to_string(tolerance));                                                                 \
    } while (false)

/** The statement throws ErrorType, and its message contains `part`. */
#define CHECK_THROWS(statement, ErrorType, part)                                                               \
    do {                                                                                                       \
        std::string message_ = "nothing was thrown by: " #statement;                                           \
        bool thrown_ = false;                                                                                  \
        try {                                                                                                  \
            static_cast<void>(statement);                                                                      \
        } catch (const ErrorType& error_) {                                                                    \
            message_ = error_.what();                                                                          \
            thrown_ = message_.find(part) != std::string::npos;                                                \
        }                                                                                                      \
        if (!thrown_)                                                                                          \
            FPForcePlugin::failCheck(__FILE__, __LINE__, message_ + " (expected: " + std::string(part) + ")"); \
    } while (false)

#endif
