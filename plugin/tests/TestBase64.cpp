/** serialization/Base64: bytes come back, and damaged text is decoded or refused, never read beyond its end. */

#include <stdexcept>

#include "Base64.h"
#include "Check.h"
#include "RandomModel.h"

using namespace FPForcePlugin;

namespace {

std::string randomBytes(Random& random, std::size_t most) {
    std::string bytes;
    for (std::size_t left = random.below(most + 1); left > 0; --left)
        bytes += static_cast<char>(random.below(256));
    return bytes;
}

}  // namespace

TEST(base64_is_that_of_rfc_4648) {
    const char* const pairs[][2] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},        {"foo", "Zm9v"},
                                    {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xFB\xEF\xFF", "++//"}};
    for (const auto& [bytes, text] : pairs)
        CHECK(toBase64(bytes) == text && fromBase64(text) == bytes);
}

TEST(base64_gives_all_bytes_back) {
    Random random(1);
    for (int i = 0; i < 2000; ++i) {
        const std::string bytes = randomBytes(random, 100);
        CHECK(fromBase64(toBase64(bytes)) == bytes);
    }
}

TEST(base64_that_is_damaged_is_refused_or_decoded_to_no_more_than_it_can_hold) {
    for (const char* text : {"Zg=", "Z", "Zg==Zg==", "=Zg=", "====", "Z===", "Zm 9v", "Zm9\n", "Zm9-", "Zg\0="})
        CHECK_THROWS(fromBase64(text), std::invalid_argument, "");
    Random random(2);
    int refused = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string text = toBase64(randomBytes(random, 30)) + (random.below(2) == 0 ? "" : "====");
        for (std::size_t flips = 1 + random.below(3); flips > 0 && !text.empty(); --flips)
            text[random.below(text.size())] = static_cast<char>(random.below(256));
        try {
            CHECK(fromBase64(text).size() <= text.size() / 4 * 3);
        } catch (const std::invalid_argument&) {
            ++refused;
        }
    }
    CHECK(refused > 10000 && refused < 20000);
}
