#include "Base64.h"

#include <cstdint>
#include <stdexcept>

namespace FPForcePlugin {

namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string toBase64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::string_view group = bytes.substr(at, 3);
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i)
            bits = bits << 8 | (i < group.size() ? static_cast<unsigned char>(group[i]) : 0u);
        for (std::size_t i = 0; i < 4; ++i)
            text += i <= group.size() ? digits[bits >> (18 - 6 * i) & 63] : '=';
    }
    return text;
}

std::string fromBase64(std::string_view text) {
    if (text.size() % 4 != 0)
        throw std::invalid_argument("its " + std::to_string(text.size()) + " characters are not a multiple of 4: it is cut short");
    std::uint8_t values[256] = {};  // 1 more than the digit's; 0: no digit
    for (std::size_t i = 0; i < digits.size(); ++i)
        values[static_cast<unsigned char>(digits[i])] = static_cast<std::uint8_t>(i + 1);
    const std::size_t padding = text.empty() || text.back() != '=' ? 0 : text[text.size() - 2] != '=' ? 1 : 2;
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    std::uint32_t bits = 0;
    for (std::size_t at = 0; at < text.size() - padding; ++at) {
        const std::uint8_t value = values[static_cast<unsigned char>(text[at])];
        if (value == 0)
            throw std::invalid_argument("character " + std::to_string(at) + " is not base64");
        bits = bits << 6 | (value - 1u);
        if (at % 4 != 0)
            bytes += static_cast<char>(bits >> (6 - 2 * (at % 4)) & 255);
    }
    return bytes;
}

}  // namespace FPForcePlugin
