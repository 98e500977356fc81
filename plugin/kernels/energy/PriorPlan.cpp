#include "PriorPlan.h"

#include <cmath>
#include <string>

#include "../ModelError.h"

namespace FPForcePlugin {

namespace {

/** `value`, unless it cannot be a variance or a length: then an error that names the weight it came from. */
double positive(double value, const std::string& entry) {
    if (!(value > 0.0) || !std::isfinite(value))
        throw ModelError("fpforce.safetensors: " + entry + " gives the value " + std::to_string(value) + " where a positive one is needed; export the model again");
    return value;
}

bool hasPrior(const ModelFile& model) {
    return model.hasTensor("prior.mode_vectors");
}

/** Described or weighed: then the other must be there too, so that a damaged file does not lose its wall in silence. */
bool hasWall(const ModelFile& model) {
    return model.has("wall") || model.hasTensor("wall.distance_nm");
}

/** An error unless beads i and j are two. */
void refuseOneBead(std::size_t i, std::size_t j, const std::string& entries) {
    if (i == j)
        throw ModelError("fpforce.safetensors: " + entries + " join bead " + std::to_string(i) + " with itself; export the model again");
}

}  // namespace

PriorPlan::PriorPlan(const ModelFile& model, const NoiseLevel& level) : beads(model.beads()) {
    if (hasPrior(model))
        readPrior(model, level);
    if (hasWall(model))
        readWall(model);
}

bool PriorPlan::isIn(const ModelFile& model) {
    return hasPrior(model) || hasWall(model);
}

void PriorPlan::readPrior(const ModelFile& model, const NoiseLevel& level) {
    const std::size_t n = static_cast<std::size_t>(beads);
    quadratic.assign(n * n, 0.0);
    const Tensor& vectors = model.tensor("prior.mode_vectors", {beads - 1, beads});
    const Tensor& variances = model.tensor("prior.mode_variances", {beads - 1});
    for (std::size_t mode = 0; mode + 1 < n; ++mode) {
        const double spread = positive(level.signal * variances.values[mode] + level.noise, "prior.mode_variances");
        constant += 1.5 * std::log(spread);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < n; ++j)
                quadratic[i * n + j] += vectors.values[mode * n + i] * vectors.values[mode * n + j] / spread;
    }
    const std::vector<int> first = model.indices("prior.first", {-1}, 0, beads - 1);
    const std::int64_t count = static_cast<std::int64_t>(first.size());
    const std::vector<int> second = model.indices("prior.second", {count}, 0, beads - 1);
    const Tensor& radius = model.tensor("prior.radius", {count});
    const Tensor& variance = model.tensor("prior.variance", {count});
    const Tensor& meanSquare = model.tensor("prior.mean_square", {count});
    for (std::size_t p = 0; p < first.size(); ++p) {
        const std::size_t i = static_cast<std::size_t>(first[p]), j = static_cast<std::size_t>(second[p]);
        refuseOneBead(i, j, "prior.first and prior.second");
        const double v = positive(level.signal * variance.values[p] + 2.0 * level.noise, "prior.variance");
        const double own = positive(level.signal * meanSquare.values[p] + 2.0 * level.noise, "prior.mean_square");
        const double a = positive(level.alpha * radius.values[p], "prior.radius");
        pairs.push_back({first[p], second[p], a, 1.0 / v, 2.0 * a / v});
        constant += 1.5 * std::log(v) - 1.5 * std::log(own);
        quadratic[i * n + i] -= 1.0 / own;
        quadratic[j * n + j] -= 1.0 / own;
        quadratic[i * n + j] += 1.0 / own;
        quadratic[j * n + i] += 1.0 / own;
    }
    if (model.hasTensor("prior.couplings.modes"))
        readCouplings(model, level);
}

void PriorPlan::readCouplings(const ModelFile& model, const NoiseLevel& level) {
    const std::size_t count = pairs.size();
    const Tensor& modes = model.tensor("prior.couplings.modes", {-1, static_cast<std::int64_t>(count)});
    const std::size_t size = count == 0 ? 0 : modes.values.size() / count;
    const Tensor& variances = model.tensor("prior.couplings.variances", {static_cast<std::int64_t>(size)});
    const double reach = positive(model.tensor("prior.couplings.reach", {1}).values[0], "prior.couplings.reach");
    if (size == 0)
        return;
    const double beyond = level.noise / (level.signal * reach * reach), share = 1.0 / (1.0 + beyond * beyond);
    couplings.assign(count * count, 0.0);
    for (std::size_t mode = 0; mode < size; ++mode) {
        const double factor = share / positive(level.signal * variances.values[mode] + level.noise, "prior.couplings.variances");
        const double* row = modes.values.data() + mode * count;
        for (std::size_t p = 0; p < count; ++p)
            for (std::size_t q = 0; q < count; ++q)
                couplings[p * count + q] += factor * row[p] * row[q];
    }
    for (std::size_t p = 0; p < count; ++p)
        couplings[p * count + p] -= share * pairs[p].inverseVariance;
}

void PriorPlan::readWall(const ModelFile& model) {
    wallHeight = model.number("wall.height_kt", 0.0, 1e6);
    const std::vector<int> first = model.indices("wall.first", {-1}, 0, beads - 1);
    const std::int64_t count = static_cast<std::int64_t>(first.size());
    const std::vector<int> second = model.indices("wall.second", {count}, 0, beads - 1);
    const Tensor& distance = model.tensor("wall.distance_nm", {count});
    for (std::size_t p = 0; p < first.size(); ++p) {
        refuseOneBead(static_cast<std::size_t>(first[p]), static_cast<std::size_t>(second[p]), "wall.first and wall.second");
        walls.push_back({first[p], second[p], positive(distance.values[p] / model.scaleNm(), "wall.distance_nm")});
    }
}

}  // namespace FPForcePlugin
