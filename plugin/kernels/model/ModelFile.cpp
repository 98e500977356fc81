#include "ModelFile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "../ModelError.h"
#include "Json.h"
#include "Safetensors.h"

namespace FPForcePlugin {

namespace {

const char description[] = "fpforce.json";
const char weights[] = "fpforce.safetensors";
// 2: models may have a wall; 3: internal models may see volumes; 4: of many molecules; 5: pairs may be coupled;
// 6: internal models may have series of dihedrals and angles; 7: and may see no time before `earliest`; 8: and series of
// other pair distances; 9: a wall may have a distance of each pair; 10: internal models may have energies of stretches of beads
constexpr int formatVersion = 10;

[[noreturn]] void fail(const std::string& what) {
    throw ModelError(what + "; export the model again");
}

std::string placed(const std::string& path) {
    return std::string(description) + ": " + path;
}

/** A number for an error message, in as few digits as it needs up to six. */
std::string shown(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}

/** Such as "(128, 28)", with ? for any size. */
std::string shown(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const std::int64_t size : shape)
        text += (text.empty() ? "" : ", ") + (size < 0 ? std::string("?") : std::to_string(size));
    return "(" + text + ")";
}

bool matches(const std::vector<std::int64_t>& found, const std::vector<std::int64_t>& wanted) {
    bool same = found.size() == wanted.size();
    for (std::size_t axis = 0; same && axis < found.size(); ++axis)
        same = wanted[axis] == -1 || wanted[axis] == found[axis];
    return same;
}

}  // namespace

struct ModelFile::Description {
    Json root;

    /** The value at the path, null if there is none. */
    const Json* at(const std::string& path) const {
        const Json* value = &root;
        for (std::size_t start = 0, end; value != nullptr && start <= path.size(); start = end + 1) {
            end = std::min(path.find('.', start), path.size());
            const auto member = value->find(path.substr(start, end - start));
            value = member == value->end() ? nullptr : &*member;
        }
        return value;
    }
};

ModelFile ModelFile::parse(std::string_view descriptionText, std::string_view weightBytes) {
    ModelFile model;
    model.description_ = std::make_shared<Description>(Description{readJson(descriptionText, description)});
    if (!model.has("format") || model.text("format") != "fpforce")
        fail(placed("format") + " is not 'fpforce'");
    const int version = model.integer("format_version", 1, std::numeric_limits<int>::max());
    if (version > formatVersion)
        throw ModelError(placed("format_version") + " is " + std::to_string(version) + ", this plugin reads up to " +
                         std::to_string(formatVersion) + "; upgrade fpforce");

    const Json* beads = model.description_->at("beads.beads");
    if (beads == nullptr || !beads->is_array() || beads->empty())
        fail(placed("beads.beads") + " is " + (beads != nullptr && beads->is_array() ? "empty" : typeName(beads)) +
             ", expected an array of at least one bead");
    if (beads->size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
        fail(placed("beads.beads") + " has too many elements");
    for (const Json& bead : *beads)
        if (!bead.is_object())
            fail(placed("beads.beads") + " has an element that is " + typeName(&bead) + ", expected objects");
    model.beads_ = static_cast<int>(beads->size());
    model.kind();
    model.scaleNm();
    model.ktKjPerMol();
    model.tEval();

    for (const auto& [name, tensor] : readSafetensors(weightBytes, weights))
        model.tensors_[name] = {tensor.type, tensor.isConvertible(), {tensor.shape, tensor.toDoubles()}};
    return model;
}

std::string ModelFile::kind() const {
    return text("model.kind");
}

int ModelFile::beads() const {
    return beads_;
}

// The bounds are far beyond any molecule; within them no product of a few such numbers overflows or vanishes.

double ModelFile::scaleNm() const {
    return number("scale_nm", 1e-6, 1e6);
}

double ModelFile::ktKjPerMol() const {
    return number("kt_kj_per_mol", 1e-6, 1e6);
}

double ModelFile::tEval() const {
    return number("t_eval", 1e-12, 1.0);
}

bool ModelFile::has(const std::string& path) const {
    const Json* json = description_->at(path);
    return json != nullptr && !json->is_null();
}

double ModelFile::number(const std::string& path, double low, double high) const {
    const Json* json = description_->at(path);
    const bool readable = json != nullptr && json->is_number();
    const double value = readable ? json->get<double>() : 0.0;
    if (!readable || !(value >= low && value <= high))
        fail(placed(path) + " is " + (readable ? shown(value) : typeName(json)) + ", expected a number from " + shown(low) + " to " +
             shown(high));
    return value;
}

int ModelFile::integer(const std::string& path, int low, int high) const {
    const double value = number(path, low, high);
    if (value != std::floor(value))
        fail(placed(path) + " is " + shown(value) + ", expected a whole number");
    return static_cast<int>(value);
}

bool ModelFile::flag(const std::string& path) const {
    const Json* json = description_->at(path);
    if (json == nullptr || !json->is_boolean())
        fail(placed(path) + " is " + typeName(json) + ", expected true or false");
    return json->get<bool>();
}

std::string ModelFile::text(const std::string& path) const {
    const Json* json = description_->at(path);
    if (json == nullptr || !json->is_string())
        fail(placed(path) + " is " + typeName(json) + ", expected a string");
    return json->get<std::string>();
}

bool ModelFile::hasTensor(const std::string& name) const {
    return tensors_.count(name) != 0;
}

const Tensor& ModelFile::tensor(const std::string& name, const std::vector<std::int64_t>& shape) const {
    const std::string place = std::string(weights) + ": tensor " + inQuotes(name);
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
        fail(place + " is missing");
    const Stored& stored = found->second;
    if (!stored.convertible)
        fail(place + " has type " + inQuotes(stored.type) + ", expected F32, F64, I32 or I64");
    if (!matches(stored.tensor.shape, shape))
        fail(place + " has shape " + shown(stored.tensor.shape) + ", expected " + shown(shape));
    for (std::size_t i = 0; i < stored.tensor.values.size(); ++i)
        if (!std::isfinite(stored.tensor.values[i]))
            fail(place + " holds " + shown(stored.tensor.values[i]) + " at element " + std::to_string(i) + ", expected finite values");
    return stored.tensor;
}

std::vector<int> ModelFile::indices(const std::string& name, const std::vector<std::int64_t>& shape, int low, int high) const {
    const std::vector<double>& values = tensor(name, shape).values;
    std::vector<int> whole;
    whole.reserve(values.size());
    for (const double value : values) {
        if (!(value >= low && value <= high) || value != std::floor(value))
            fail(std::string(weights) + ": tensor " + inQuotes(name) + " holds " + shown(value) + ", expected whole numbers from " +
                 std::to_string(low) + " to " + std::to_string(high));
        whole.push_back(static_cast<int>(value));
    }
    return whole;
}

}  // namespace FPForcePlugin
