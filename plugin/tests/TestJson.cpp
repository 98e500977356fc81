/** model/Json: what is JSON, what is not, and what values hold. */

#include <clocale>
#include <limits>

#include "Allocations.h"
#include "Check.h"
#include "ModelError.h"
#include "model/Json.h"

using namespace FPForcePlugin;

namespace {

Json parsed(const std::string& text) {
    static std::string kept;
    kept = text;
    return Json::parse(kept, "text");
}

double numberIn(const std::string& text) {
    double value = std::numeric_limits<double>::quiet_NaN();
    CHECK(parsed(text).toDouble(value));
    return value;
}

bool isJson(const std::string& text) {
    try {
        Json::parse(text, "text");
        return true;
    } catch (const ModelError&) {
        return false;
    }
}

}  // namespace

TEST(json_values_have_the_types_of_the_grammar) {
    CHECK(parsed(" null ").type() == Json::Type::Null);
    CHECK(parsed("true").isTrue() && !parsed("false").isTrue());
    CHECK(parsed("\r\n\t -0.5e+2 ").type() == Json::Type::Number);
    CHECK(parsed("\"\"").type() == Json::Type::String);
    CHECK(parsed("[]").type() == Json::Type::Array);
    CHECK(parsed("{ }").type() == Json::Type::Object);
    CHECK(Json().type() == Json::Type::Absent);
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
                             "\xEF\xBB\xBF{}",
                             "PK\x03\x04",
                             "<?xml version=\"1.0\"?>",
                             "\x80\x02}q\x00."})
        CHECK(!isJson(text));
    CHECK(!isJson(std::string("\0", 1)));
    CHECK(!isJson(std::string("\"\0\"", 3)));
    CHECK(!isJson(std::string("[1]\0", 4)));
}

TEST(json_errors_name_the_entry_the_byte_and_the_expectation) {
    CHECK_THROWS(Json::parse("{\"a\": [1, 2}", "fpforce.json"), ModelError,
                 "fpforce.json is not JSON: '}' at byte 11 of 12, expected ',' or ']'");
    CHECK_THROWS(Json::parse("{\"a\":", "fpforce.json"), ModelError, "the end at byte 5 of 5, expected a value");
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
    double value;
    CHECK(!parsed("1e999").toDouble(value) && !parsed("\"1\"").toDouble(value));
    std::int64_t whole;
    CHECK(parsed("9223372036854775807").toInteger(whole) && whole == std::numeric_limits<std::int64_t>::max());
    CHECK(!parsed("9223372036854775808").toInteger(whole) && !parsed("1.0").toInteger(whole));
    CHECK(!parsed("1e3").toInteger(whole));
}

TEST(json_strings_are_decoded_to_utf8) {
    CHECK(parsed(R"("\"\\\/\b\f\n\r\t")").toText() == "\"\\/\b\f\n\r\t");
    CHECK(parsed(R"("\u0041\u00e9\u20ac\ud83e\uddea")").toText() == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA7\xAA");
    CHECK(parsed("\"\xC3\xA9\"").toText() == "\xC3\xA9");
    CHECK(parsed(R"("\ud83e!\udc80")").toText() == "\xEF\xBF\xBD!\xEF\xBF\xBD");  // halves of pairs
    CHECK(parsed(R"("\ud83e\u0041")").toText() ==
          "\xEF\xBF\xBD"
          "A");
}

TEST(json_members_and_elements_are_found) {
    const Json json = parsed(R"( {"a" : [1, [2, 3], {"]": "}"}, "\"["] ,"b":{},"\u0061b": 7, "a.b": true, "c": 1, "c": 2} )");
    std::vector<Json::Type> types;
    json.member("a").forEachElement([&](const Json& element) { types.push_back(element.type()); });
    CHECK((types == std::vector<Json::Type>{Json::Type::Number, Json::Type::Array, Json::Type::Object, Json::Type::String}));
    CHECK(json.member("b").type() == Json::Type::Object);
    double value;
    CHECK(json.member("ab").toDouble(value) && value == 7.0);
    CHECK(json.member("c").toDouble(value) && value == 2.0);  // the last counts, as in Python
    CHECK(json.member("d").type() == Json::Type::Absent);
    CHECK(json.member("a").member("a").type() == Json::Type::Absent);
    std::string names;
    json.forEachMember([&](const std::string& name, const Json&) { names += name + " "; });
    CHECK(names == "a b ab a.b c c ");
}

TEST(json_nesting_is_limited_and_costs_no_memory) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    CHECK(isJson(nested(64)));
    CHECK(!isJson(nested(65)));
    const std::string bomb(1 << 22, '['), wide = "[" + std::string(1 << 22, ' ') + "0]";
    const Allocations allocations;
    CHECK_THROWS(Json::parse(bomb, "text"), ModelError, "at most 64 nested brackets");
    Json::parse(wide, "text");
    CHECK(allocations.peakBytes() < 2000);
}
