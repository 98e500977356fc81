/** model/ModelFile: queries answer what the two entries say, or an error names the entry, the value and the expectation. */

#include <functional>

#include "Allocations.h"
#include "Check.h"
#include "ModelError.h"
#include "RandomModel.h"

using namespace FPForcePlugin;

namespace {

/** The description of a small valid model with one piece of its text replaced. */
ModelFile withReplaced(const std::string& piece, const std::string& replacement) {
    ModelText text = randomInternal({});
    const std::size_t at = text.description.find(piece);
    CHECK(at != std::string::npos);
    text.description.replace(at, piece.size(), replacement);
    return text.parse();
}

ModelFile withWeights(const std::function<void(WeightsWriter&)>& fill) {
    WeightsWriter writer;
    fill(writer);
    return ModelFile::parse(randomInternal({}).description, writer.bytes());
}

}  // namespace

TEST(model_file_answers_what_the_entries_say) {
    ModelShape shape;
    shape.beads = 7;
    const ModelFile model = randomInternal(shape).parse();
    CHECK(model.kind() == "internal" && model.beads() == 7);
    CHECK(model.scaleNm() == 0.1 && model.ktKjPerMol() == 2.494338785445972 && model.tEval() == 1e-5);
    CHECK(model.integer("model.settings.layers", 1, 8) == 2);
    CHECK(model.number("model.constants.smooth_area", 0, 1) == 0.45);
    CHECK(model.flag("model.settings.prior"));
    CHECK(model.text("beads.mapping") == "ca");
    CHECK(model.has("training.sources") && !model.has("training.steps") && !model.has("training.sources.0"));
    CHECK(model.hasTensor("network.out.weight") && !model.hasTensor("network.out.bias"));
    CHECK(model.tensor("network.hidden.1.weight", {-1, 32}).values.size() == 32 * 32);
    CHECK(model.indices("network.coordinates.second", {21}, 0, 6).back() == 6);
}

TEST(model_file_outlives_what_it_was_read_from_and_can_be_copied) {
    ModelFile copy = [] {
        const ModelFile model = randomInternal({}).parse();
        return model;
    }();
    const ModelFile second = copy;
    copy = randomInternal({8, 16, 1, 16, true, 3}).parse();
    CHECK(copy.beads() == 8 && second.beads() == 5 && second.kind() == "internal");
    CHECK(second.tensor("network.out.weight", {1, 32}).values.size() == 32);
}

TEST(model_file_rejects_a_description_that_is_not_one) {
    const auto rejects = [](const std::string& piece, const std::string& replacement, const std::string& part) {
        CHECK_THROWS(withReplaced(piece, replacement), ModelError, "fpforce.json");
        CHECK_THROWS(withReplaced(piece, replacement), ModelError, part);
    };
    rejects("\"fpforce\"", "\"onnx\"", "format is not 'fpforce'");
    rejects("\"format\"", "\"form\"", "format is not 'fpforce'");
    rejects("\"format_version\": 6", "\"format_version\": 11", "format_version is 11, this plugin reads up to 10; upgrade");
    rejects("\"format_version\": 6", "\"format_version\": 0", "format_version is 0");
    rejects("\"format_version\": 6", "\"format_version\": 1.5", "format_version is 1.5, expected a whole number");
    rejects("\"kind\"", "\"sort\"", "model.kind is absent, expected a string");
    rejects("\"scale_nm\": 0.1", "\"scale_nm\": -0.1", "scale_nm is -0.1, expected a number from 1e-06");
    rejects("\"scale_nm\": 0.1", "\"scale_nm\": \"0.1\"", "scale_nm is a string, expected a number");
    rejects("\"scale_nm\": 0.1", "\"scale_nm\": 1e999", "has a number beyond a double's range");
    rejects("1e-05", "0", "t_eval is 0");
    rejects("1e-05", "1.5", "t_eval is 1.5");
    rejects("\"kt_kj_per_mol\"", "\"kt\"", "kt_kj_per_mol is absent");
    rejects("\"beads\": [{", "\"beads\": [7, {", "beads.beads has an element that is a number");
    rejects("\"beads\": {\"mapping\"", "\"beads\": [], \"chaff\": {\"mapping\"", "beads.beads is absent");
    rejects("\"beads\": [{", "\"beads\": [], \"chaff\": [{", "beads.beads is empty");
    CHECK_THROWS(ModelFile::parse("", randomInternal({}).weights), ModelError, "fpforce.json is not JSON");
    CHECK_THROWS(ModelFile::parse("[]", randomInternal({}).weights), ModelError, "fpforce.json");
    CHECK_THROWS(ModelFile::parse(randomInternal({}).description, ""), ModelError, "fpforce.safetensors has 0 bytes");
}

TEST(model_file_queries_reject_other_types_and_ranges) {
    const ModelFile model = randomInternal({}).parse();
    CHECK_THROWS(model.number("model.settings.width", 33, 64), ModelError, "model.settings.width is 32, expected a number from 33 to 64");
    CHECK_THROWS(model.integer("model.constants.smooth_length", 0, 1), ModelError, "is 0.2, expected a whole number");
    CHECK_THROWS(model.flag("model.kind"), ModelError, "model.kind is a string, expected true or false");
    CHECK_THROWS(model.text("training.steps"), ModelError, "training.steps is null, expected a string");
    CHECK_THROWS(model.number("model", 0, 1), ModelError, "model is an object");
    CHECK_THROWS(model.number("", 0, 1), ModelError, "absent");
    CHECK_THROWS(model.number("model..width", 0, 1), ModelError, "absent");
}

TEST(model_file_tensors_are_checked_when_asked_for) {
    const double nan = std::nan("");
    const ModelFile model = withWeights([&](WeightsWriter& writer) {
        writer.add("plain", {2, 2}, {0, 1, 2, 3}, "I64");
        writer.add("nan", {3}, {0, 1, nan});
        writer.add("huge", {1}, {1e300});  // infinite as F32
        writer.add("fraction", {1}, {0.5});
    });
    const char* const place = "fpforce.safetensors: tensor ";
    CHECK_THROWS(model.tensor("none", {1}), ModelError, std::string(place) + "'none' is missing");
    CHECK_THROWS(model.tensor("plain", {2, 3}), ModelError, std::string(place) + "'plain' has shape (2, 2), expected (2, 3)");
    CHECK_THROWS(model.tensor("plain", {-1}), ModelError, "has shape (2, 2), expected (?)");
    CHECK_THROWS(model.tensor("nan", {-1}), ModelError, std::string(place) + "'nan' holds nan at element 2");
    CHECK_THROWS(model.tensor("huge", {1}), ModelError, "'huge' holds inf at element 0");
    CHECK_THROWS(model.indices("fraction", {1}, 0, 9), ModelError, "'fraction' holds 0.5, expected whole numbers from 0 to 9");
    CHECK_THROWS(model.indices("plain", {2, 2}, 0, 2), ModelError, "'plain' holds 3, expected whole numbers from 0 to 2");
    CHECK((model.indices("plain", {2, 2}, 0, 3) == std::vector<int>{0, 1, 2, 3}));
    const std::string half = R"({"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}})";
    const ModelFile other = ModelFile::parse(randomInternal({}).description, safetensorsFile(half, "ab"));
    CHECK_THROWS(other.tensor("w", {1}), ModelError, std::string(place) + "'w' has type 'BF16', expected F32");
}

TEST(model_file_needs_memory_in_proportion_to_its_entries) {
    const auto check = [](const ModelText& text) {
        const Allocations allocations;
        const ModelFile model = text.parse();
        // A value of the parsed tree takes 16 bytes, three times that while its array grows, and two characters of text at least.
        CHECK(allocations.peakBytes() < 30 * (text.description.size() + text.weights.size()) + 10000);
    };
    ModelText text = randomInternal({5, 256, 3, 16, true, 1});
    check(text);
    // Headers that say as much as possible in as few bytes.
    std::string names, sizes;
    for (int i = 0; i < 20000; ++i) {
        names += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
        sizes += i == 0 ? "0" : ",0";
    }
    check({text.description, safetensorsFile("{" + names + "}", "")});
    text.description.insert(1, "\"chaff\": [" + sizes + "],");
    check(text);
}
