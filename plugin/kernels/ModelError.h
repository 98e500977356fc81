#ifndef FPFORCE_MODEL_ERROR_H_
#define FPFORCE_MODEL_ERROR_H_

#include <stdexcept>
#include <string>
#include <string_view>

namespace FPForcePlugin {

/** A model that cannot be read or evaluated. The message names the entry at fault, what it holds and the remedy. */
struct ModelError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/** Untrusted text for an error message: in single quotes, cut to a readable length, anything unprintable as '?'. */
inline std::string inQuotes(std::string_view text) {
    constexpr std::size_t longest = 80;
    std::string shown = "'";
    for (const char c : text.substr(0, longest))
        shown += c >= ' ' && c <= '~' ? c : '?';
    return shown + (text.size() > longest ? "...'" : "'");
}

}  // namespace FPForcePlugin

#endif
