#include "Json.h"

#include <charconv>
#include <system_error>

#include "JsonGrammar.h"

namespace FPForcePlugin {

namespace {

void appendUtf8(std::string& text, int code) {
    const auto byte = [&text](int value) { text += static_cast<char>(value); };
    if (code < 0x80) {
        byte(code);
    } else if (code < 0x800) {
        byte(0xC0 | code >> 6);
        byte(0x80 | (code & 0x3F));
    } else {
        if (code < 0x10000) {
            byte(0xE0 | code >> 12);
        } else {
            byte(0xF0 | code >> 18);
            byte(0x80 | (code >> 12 & 0x3F));
        }
        byte(0x80 | (code >> 6 & 0x3F));
        byte(0x80 | (code & 0x3F));
    }
}

// What follows reads only texts that checkJson has accepted.

std::size_t afterSpace(std::string_view text, std::size_t at) {
    while (at < text.size() && isJsonSpace(text[at]))
        ++at;
    return at;
}

std::size_t afterString(std::string_view text, std::size_t at) {
    for (++at; text[at] != '"'; ++at)
        at += text[at] == '\\' ? 1 : 0;
    return at + 1;
}

std::size_t afterValue(std::string_view text, std::size_t at) {
    if (text[at] == '"')
        return afterString(text, at);
    if (text[at] != '{' && text[at] != '[') {
        while (at < text.size() && !isJsonSpace(text[at]) && text[at] != ',' && text[at] != '}' && text[at] != ']')
            ++at;
        return at;
    }
    int depth = 0;
    do {
        const char c = text[at];
        depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
        at = c == '"' ? afterString(text, at) : at + 1;
    } while (depth > 0);
    return at;
}

}  // namespace

Json Json::parse(std::string_view text, const std::string& entry) {
    checkJson(text, entry);
    return parsedBefore(text);
}

Json Json::parsedBefore(std::string_view text) {
    const std::size_t start = afterSpace(text, 0);
    return Json(text.substr(start, afterValue(text, start) - start));
}

Json::Type Json::type() const {
    switch (text_.empty() ? '\0' : text_[0]) {
        case '\0':
            return Type::Absent;
        case '{':
            return Type::Object;
        case '[':
            return Type::Array;
        case '"':
            return Type::String;
        case 'n':
            return Type::Null;
        case 't':
        case 'f':
            return Type::Boolean;
        default:
            return Type::Number;
    }
}

const char* Json::typeName() const {
    static const char* const names[] = {"absent", "null", "true or false", "a number", "a string", "an array", "an object"};
    return names[static_cast<int>(type())];
}

bool Json::next(std::size_t& position, Json& name, Json& value) const {
    // Position 0 is the opening bracket, later ones are just behind an item.
    std::size_t at = afterSpace(text_, position == 0 ? 1 : position);
    if (text_[at] == '}' || text_[at] == ']')
        return false;
    if (text_[at] == ',')
        at = afterSpace(text_, at + 1);
    if (text_[0] == '{') {
        const std::size_t end = afterString(text_, at);
        name = Json(text_.substr(at, end - at));
        at = afterSpace(text_, afterSpace(text_, end) + 1);
    }
    position = afterValue(text_, at);
    value = Json(text_.substr(at, position - at));
    return true;
}

Json Json::member(std::string_view name) const {
    Json found;
    forEachMember([&](const std::string& itsName, const Json& value) {
        if (itsName == name)
            found = value;
    });
    return found;
}

bool Json::isTrue() const {
    return type() == Type::Boolean && text_[0] == 't';
}

bool Json::toDouble(double& value) const {
    // Unlike strtod, from_chars ignores the process's locale.
    const char* const end = text_.data() + text_.size();
    const std::from_chars_result result = std::from_chars(text_.data(), end, value);
    return type() == Type::Number && result.ec == std::errc() && result.ptr == end;
}

bool Json::toInteger(std::int64_t& value) const {
    const char* const end = text_.data() + text_.size();
    const std::from_chars_result result = std::from_chars(text_.data(), end, value);
    return type() == Type::Number && result.ec == std::errc() && result.ptr == end;
}

std::string Json::toText() const {
    if (type() != Type::String)
        return "";
    const std::string_view inside = text_.substr(1, text_.size() - 2);
    std::string text;
    text.reserve(inside.size());
    for (std::size_t at = 0; at < inside.size(); ++at) {
        if (inside[at] != '\\') {
            text += inside[at];
            continue;
        }
        const char c = inside[++at];
        if (c != 'u') {
            const std::string_view letters = "bfnrt", controls = "\b\f\n\r\t";
            const std::size_t which = letters.find(c);
            text += which == std::string_view::npos ? c : controls[which];
            continue;
        }
        int code = fourHexDigits(inside.substr(at + 1));
        at += 4;
        const bool high = code >= 0xD800 && code < 0xDC00, low = code >= 0xDC00 && code < 0xE000;
        const int partner = high && inside.substr(at + 1, 2) == "\\u" ? fourHexDigits(inside.substr(at + 3)) : -1;
        if (partner >= 0xDC00 && partner < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (partner - 0xDC00);
            at += 6;
        } else if (high || low) {
            code = 0xFFFD;
        }
        appendUtf8(text, code);
    }
    return text;
}

}  // namespace FPForcePlugin
