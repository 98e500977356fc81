/** model/Json: what is taken as JSON, what is not, and what is said about it. The parser itself is nlohmann's. */

#include <clocale>
#include <limits>

#include "Allocations.h"
#include "Check.h"
#include "ModelError.h"
#include "model/Json.h"

using namespace FPForcePlugin;

namespace {

Json parsed(const std::string& text) {
    return readJson(text, "text");
}

double numberIn(const std::string& text) {
    const Json json = parsed(text);
    CHECK(json.is_number());
    return json.get<double>();
}

bool isJson(const std::string& text) {
    try {
        readJson(text, "text");
        return true;
    } catch (const ModelError&) {
        return false;
    }
}

}  // namespace

TEST(json_values_are_named_in_words) {
    const auto isNamed = [](const char* text, const std::string& name) {
        const Json json = parsed(text);
        CHECK(typeName(&json) == name);
    };
    isNamed(" null ", "null");
    isNamed("true", "true or false");
    isNamed("\r\n\t -0.5e+2 ", "a number");
    isNamed("7", "a number");
    isNamed("-7", "a number");
    isNamed("\"\"", "a string");
    isNamed("[]", "an array");
    isNamed("{ }", "an object");
    CHECK(typeName(nullptr) == std::string("absent"));
}

TEST(json_rejects_what_is_not_json) {
    for (const char* text : {"",
                             " ",
                             "nul",
                             "truer",
                             "True",
                             "NaN",
                             "Infinity",
                             "-",
                             "+1",
                             "01",
                             "-01",
                             "1.",
                             ".5",
                             "1e",
                             "1e+",
                             "0x10",
                             "1 2",
                             "[1,]",
                             "[,1]",
                             "[1 2]",
                             "[",
                             "]",
                             "[}",
                             "{]",
                             "{,}",
                             "{\"a\"}",
                             "{\"a\":}",
                             "{\"a\":1,}",
                             "{a:1}",
                             "{1:1}",
                             "{\"a\":1 \"b\":2}",
                             "'a'",
                             "\"",
                             "\"\\\"",
                             "\"\\x\"",
                             "\"\\u12g4\"",
                             "\"\\u12\"",
                             "\"a\nb\"",
                             "[1]]",
                             "{}{}",
                             "// comment\n1",
                             "1e999",
                             "\"\xC3\"",
                             "PK\x03\x04",
                             "<?xml version=\"1.0\"?>",
                             "\x80\x02}q\x00."})
        CHECK(!isJson(text));
    CHECK(!isJson(std::string("\0", 1)));
    CHECK(!isJson(std::string("\"\0\"", 3)));
    CHECK(!isJson(std::string("[1]\0", 4)));
}

TEST(json_errors_name_the_entry_and_the_byte) {
    CHECK_THROWS(readJson("{\"a\": [1, 2}", "fpforce.json"), ModelError, "fpforce.json is not JSON: byte 12 of 12 does not belong there");
    CHECK_THROWS(readJson("{\"a\":", "fpforce.json"), ModelError, "fpforce.json is not JSON: byte 6 of 5");
    CHECK_THROWS(readJson("[-1e999]", "fpforce.json"), ModelError, "fpforce.json has a number beyond a double's range");
}

TEST(json_numbers_are_read_exactly_in_any_locale) {
    for (const char* locale : {"C", "de_DE.UTF-8", "fr_FR.UTF-8"}) {
        if (std::setlocale(LC_ALL, locale) == nullptr)
            continue;
        CHECK(numberIn("-1.25e-3") == -0.00125);
        CHECK(numberIn("0.1") == 0.1);
        CHECK(numberIn("2.2250738585072014e-308") == std::numeric_limits<double>::min());
        CHECK(numberIn("9007199254740993") == 9007199254740992.0);
    }
    std::setlocale(LC_ALL, "C");
    CHECK(parsed("18446744073709551615").get<std::uint64_t>() == std::numeric_limits<std::uint64_t>::max());
}

TEST(json_strings_are_decoded_to_utf8) {
    const auto text = [](const std::string& json) { return parsed(json).get<std::string>(); };
    CHECK(text(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
    CHECK(text(R"("\u0041\u00e9\u20ac\ud83e\uddea")") == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA7\xAA");
    CHECK(text("\"\xC3\xA9\"") == "\xC3\xA9");
}

TEST(json_halves_of_surrogate_pairs_are_replaced_and_nothing_else_is) {
    const auto text = [](const std::string& json) { return parsed(json).get<std::string>(); };
    const std::string unknown = "\xEF\xBF\xBD";
    CHECK(text(R"("\ud83e!\udc80")") == unknown + "!" + unknown);
    CHECK(text(R"("\uD83E\u0041")") == unknown + "A");
    CHECK(text(R"("\udc80\udc80\ud800\ud83e\uddea")") == unknown + unknown + unknown + "\xF0\x9F\xA7\xAA");
    CHECK(text(R"("\\udc80")") == R"(\udc80)");
    CHECK(!isJson(R"("\udc8)") && !isJson(R"("\udc8g")") && !isJson(R"("\ud800\)"));
}

TEST(json_of_two_members_with_one_name_the_last_counts) {
    CHECK(parsed(R"({"c": 1, "\u0063": 2})").at("c").get<int>() == 2);
}

TEST(json_nesting_is_limited_and_memory_in_proportion_to_the_text) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    CHECK(isJson(nested(64)));
    CHECK(!isJson(nested(65)));
    const std::string bomb(1 << 22, '['), wide = "[" + std::string(1 << 22, ' ') + "0]";
    const Allocations allocations;
    CHECK_THROWS(readJson(bomb, "text"), ModelError, "brackets more than 64 deep");
    readJson(wide, "text");
    CHECK(allocations.peakBytes() < 5 * wide.size());
}
