#ifndef FPFORCE_MODEL_JSON_H_
#define FPFORCE_MODEL_JSON_H_

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace FPForcePlugin {

typedef nlohmann::json Json;

/** Arrays and objects may lie this deep inside one another. */
constexpr int deepestJson = 64;

/**
 * The value that a text is (RFC 8259). Throws ModelError, with `entry` and the byte at fault, unless it is JSON, its numbers are
 * in a double's range and its brackets at most `deepestJson` deep.
 *
 * Of several members with one name the last counts, as for Python's json, which reads the same file. Half a surrogate pair, which
 * Python writes for the name of a file that is not UTF-8, becomes U+FFFD.
 */
Json readJson(std::string_view text, const std::string& entry);

/** What a value is, for error messages: "null", "a number", ...; "absent" for null pointers. */
const char* typeName(const Json* value);

}  // namespace FPForcePlugin

#endif
