#include "Json.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "../ModelError.h"

namespace FPForcePlugin {

namespace {

/** The number XXXX of an escape sequence \uXXXX that begins at `at`, or 0 if none does. */
unsigned escapeAt(std::string_view text, std::size_t at) {
    if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u')
        return 0;
    unsigned code = 0;
    const char* const end = text.data() + at + 6;
    const std::from_chars_result result = std::from_chars(text.data() + at + 2, end, code, 16);
    return result.ec == std::errc() && result.ptr == end ? code : 0;
}

/** The text with \ufffd for each half of a surrogate pair, which the parser would refuse. */
std::string withoutHalfPairs(std::string_view text) {
    std::string whole(text);
    for (std::size_t at = text.find('\\'); at < text.size(); at = text.find('\\', at)) {
        const unsigned kind = escapeAt(text, at) >> 10;
        if (kind == 0xD800 >> 10 && escapeAt(text, at + 6) >> 10 == 0xDC00 >> 10) {
            at += 12;
            continue;
        }
        if (kind == 0xD800 >> 10 || kind == 0xDC00 >> 10)
            whole.replace(at + 2, 4, "fffd");
        at += 2;
    }
    return whole;
}

/** How deep brackets lie in one another, if the text is JSON. The parser's own callback for this takes quadratic time. */
int depthOf(std::string_view text) {
    int depth = 0, deepest = 0;
    bool inString = false;
    for (std::size_t at = 0; at < text.size() && deepest <= deepestJson; ++at) {
        const char c = text[at];
        if (c == '"')
            inString = !inString;
        else if (inString)
            at += c == '\\' ? 1 : 0;
        else if (c == '[' || c == '{')
            deepest = std::max(deepest, ++depth);
        else if (c == ']' || c == '}')
            --depth;
    }
    return deepest;
}

}  // namespace

Json readJson(std::string_view text, const std::string& entry) {
    if (depthOf(text) > deepestJson)
        throw ModelError(entry + " has brackets more than " + std::to_string(deepestJson) + " deep; export the model again");
    const auto failAt = [&](std::size_t byte) {
        throw ModelError(entry + " is not JSON: byte " + std::to_string(byte) + " of " + std::to_string(text.size()) +
                         " does not belong there; export the model again");
    };
    if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos)  // which the parser would take for the end
        failAt(zero + 1);
    try {
        return Json::parse(withoutHalfPairs(text));
    } catch (const Json::parse_error& error) {
        failAt(error.byte);
        throw;
    } catch (const Json::out_of_range&) {
        throw ModelError(entry + " has a number beyond a double's range; export the model again");
    }
}

const char* typeName(const Json* value) {
    if (value == nullptr)
        return "absent";
    switch (value->type()) {
        case Json::value_t::null:
            return "null";
        case Json::value_t::boolean:
            return "true or false";
        case Json::value_t::string:
            return "a string";
        case Json::value_t::array:
            return "an array";
        case Json::value_t::object:
            return "an object";
        default:
            return "a number";
    }
}

}  // namespace FPForcePlugin
