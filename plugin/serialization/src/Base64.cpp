#include "Base64.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>

namespace FPForcePlugin {

namespace {

constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint32_t notADigit = 64;

constexpr std::array<std::uint8_t, 256> makeValues() {
    std::array<std::uint8_t, 256> values{};
    for (auto& value : values)
        value = notADigit;
    for (std::uint8_t i = 0; i < 64; ++i)
        values[static_cast<unsigned char>(digits[i])] = i;
    return values;
}

constexpr std::array<std::uint8_t, 256> values = makeValues();

std::uint32_t valueAt(std::string_view text, std::size_t position) {
    const std::uint32_t value = values[static_cast<unsigned char>(text[position])];
    if (value == notADigit)
        throw std::invalid_argument("character " + std::to_string(position) + " is not base64");
    return value;
}

}  // namespace

std::string toBase64(std::string_view bytes) {
    std::string text((bytes.size() + 2) / 3 * 4, '=');
    char* out = text.data();
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t j = 0; j < 3; ++j)
            group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
        for (std::size_t j = 0; j <= count; ++j)
            out[j] = digits[group >> (18 - 6 * j) & 63];
        out += 4;
    }
    return text;
}

std::string fromBase64(std::string_view text) {
    if (text.size() % 4 != 0)
        throw std::invalid_argument("its " + std::to_string(text.size()) + " characters are not a multiple of 4: it is cut short");
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
        ++padding;
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    for (std::size_t i = 0; i < text.size(); i += 4) {
        const std::size_t count = i + 4 == text.size() ? 4 - padding : 4;
        std::uint32_t group = 0;
        for (std::size_t j = 0; j < 4; ++j)
            group = group << 6 | (j < count ? valueAt(text, i + j) : 0u);
        for (std::size_t j = 0; j + 1 < count; ++j)
            bytes += static_cast<char>(group >> (16 - 8 * j) & 255);
    }
    return bytes;
}

}  // namespace FPForcePlugin
