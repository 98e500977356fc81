#ifndef FPFORCE_BASE64_H_
#define FPFORCE_BASE64_H_

#include <string>
#include <string_view>

namespace FPForcePlugin {

/** Bytes as base64 text (RFC 4648, padded, one line). */
std::string toBase64(std::string_view bytes);
/** The bytes of base64 text; throws std::invalid_argument at the first character that does not belong there. */
std::string fromBase64(std::string_view text);

}  // namespace FPForcePlugin

#endif
