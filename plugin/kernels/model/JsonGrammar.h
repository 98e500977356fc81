#ifndef FPFORCE_MODEL_JSON_GRAMMAR_H_
#define FPFORCE_MODEL_JSON_GRAMMAR_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace FPForcePlugin {

/** Arrays and objects may lie this deep inside one another. */
constexpr std::size_t deepestJson = 64;

/**
 * Checks that a text is one JSON value (RFC 8259), nested at most `deepestJson` deep.
 *
 * Throws ModelError, with `entry`, the byte at fault and what belongs there. Neither recurses nor allocates. Bytes
 * beyond ASCII are accepted inside strings, whatever their encoding.
 */
void checkJson(std::string_view text, const std::string& entry);

inline bool isJsonSpace(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/** The value of the four hexadecimal digits that a text starts with, or -1. */
int fourHexDigits(std::string_view text);

}  // namespace FPForcePlugin

#endif
