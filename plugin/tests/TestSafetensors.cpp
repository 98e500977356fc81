/** model/Safetensors: what the bytes mean, and every way in which a file can contradict itself. */

#include "Check.h"
#include "ModelError.h"
#include "RandomModel.h"
#include "model/Safetensors.h"

using namespace FPForcePlugin;

namespace {

void read(const std::string& header, std::size_t dataBytes) {
    readSafetensors(safetensorsFile(header, std::string(dataBytes, '\0')), "weights");
}

/** A header with one tensor 'w'. */
std::string one(const std::string& type, const std::string& shape, const std::string& offsets) {
    return R"({"w":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

}  // namespace

TEST(safetensors_of_every_convertible_type_are_read) {
    const std::vector<double> values = {0.0, 1.0, -2.0, 3.0, 1e6, -7.0};
    WeightsWriter writer;
    for (const char* type : {"F32", "F64", "I32", "I64"})
        writer.add(type, {2, 3}, values, type);
    const std::string bytes = writer.bytes();
    // At each alignment in memory.
    for (std::size_t shift = 0; shift < 8; ++shift) {
        const std::string moved = std::string(shift, '!') + bytes;
        const auto tensors = readSafetensors(std::string_view(moved).substr(shift), "weights");
        CHECK(tensors.size() == 4);
        for (const auto& [type, tensor] : tensors)
            CHECK(tensor.type == type && tensor.shape == std::vector<std::int64_t>({2, 3}) && tensor.toDoubles() == values);
    }
}

TEST(safetensors_may_hold_metadata_padding_scalars_and_empty_tensors) {
    const std::string header = R"({"__metadata__":{"format":"pt"},"none":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},)"
                               R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                               R"("half":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}    )";
    const std::string file = safetensorsFile(header, std::string("\0\0\x80\x3f", 4) + "abcd");
    const auto tensors = readSafetensors(file, "weights");
    CHECK(tensors.size() == 3);
    CHECK(tensors.at("scalar").toDoubles() == std::vector<double>{1.0});
    CHECK(tensors.at("none").toDoubles().empty());
    CHECK(!tensors.at("half").isConvertible() && tensors.at("half").toDoubles().empty());
    CHECK(readSafetensors(safetensorsFile("{}", ""), "weights").empty());
}

TEST(safetensors_errors_name_the_entry_and_the_tensor) {
    const auto throwsAbout = [](const std::string& header, std::size_t bytes, const std::string& part) {
        CHECK_THROWS(read(header, bytes), ModelError, "weights");
        CHECK_THROWS(read(header, bytes), ModelError, part);
    };
    throwsAbout("[]", 0, "an array, expected an object");
    throwsAbout("{", 0, "not JSON");
    throwsAbout(one("F33", "[1]", "[0,4]"), 4, "'w' has the unknown type 'F33'");
    throwsAbout(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", 4, "'w' has the unknown type ''");
    throwsAbout(R"({"w":[]})", 0, "'w'");
    throwsAbout(one("F32", "1", "[0,4]"), 4, "shape a number");
    throwsAbout(one("F32", "[1.0]", "[0,4]"), 4, "shape with an element");
    throwsAbout(one("F32", "[-1]", "[0,4]"), 4, "shape with an element");
    throwsAbout(one("F32", "[\"1\"]", "[0,4]"), 4, "shape with an element");
    throwsAbout(one("F32", "[4611686018427387904]", "[0,4]"), 4, "shape with an element");
    throwsAbout(one("F32", "[4611686018427387904,0]", "[0,0]"), 0, "shape with an element");
    throwsAbout(one("F32", "[65536,65536,65536,65536]", "[0,0]"), 0, "its shape do not give");
    throwsAbout(one("F32", "[65536,65536,65536,65536]", "[0,4]"), 4, "its shape do not give");
    throwsAbout(one("F32", "[2]", "[0,4]"), 4, "its shape do not give");
    throwsAbout(one("F32", "[1]", "[0,5]"), 5, "its shape do not give");
    throwsAbout(one("F32", "[0]", "[0,4]"), 4, "its shape do not give");
    throwsAbout(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "shape with more than 8 elements");
    throwsAbout(one("F32", "[1]", "[0]"), 4, "1 data_offsets");
    throwsAbout(one("F32", "[1]", "[4,0]"), 4, "bytes 4 to 0");
    throwsAbout(one("F32", "[1]", "[0,4]"), 3, "bytes 0 to 4 of 3");
    throwsAbout(one("F32", "[1]", "[0,18446744073709551615]"), 4, "data_offsets with an element");
    throwsAbout(one("F32", "[1]", "[9223372036854775803,9223372036854775807]"), 4, "of 4 bytes");
    throwsAbout(one("F32", "[1]", "[0,4]"), 5, "1 bytes after its last tensor");
    throwsAbout(one("F32", "[1]", "[4,8]"), 8, "'w' does not begin where");
    const std::string a = R"({"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},)";
    throwsAbout(a + R"("b":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})", 8, "'b' does not begin where");
    throwsAbout(a + R"("b":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})", 8, "does not begin where");
    throwsAbout(a + R"("a":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})", 8, "'a' does not begin where");
}

TEST(safetensors_header_length_is_checked_against_the_file) {
    const auto prefixed = [](std::uint64_t length, const std::string& rest) {
        std::string file;
        for (int i = 0; i < 8; ++i)
            file += static_cast<char>(length >> (8 * i) & 0xFF);
        return file + rest;
    };
    CHECK_THROWS(readSafetensors("", "weights"), ModelError, "0 bytes, fewer than the 8");
    CHECK_THROWS(readSafetensors("1234567", "weights"), ModelError, "7 bytes, fewer than the 8");
    CHECK_THROWS(readSafetensors(prefixed(3, "{}"), "weights"), ModelError, "header has 3 bytes");
    CHECK_THROWS(readSafetensors(prefixed(UINT64_MAX, "{}"), "weights"), ModelError, "header has 18446744073709551615 bytes");
    CHECK_THROWS(readSafetensors(prefixed(0, "{}"), "weights"), ModelError, "not JSON");
}
