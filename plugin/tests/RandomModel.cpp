// Longer than other files, since both kinds of model, and the format of their file, are written here.

#include "RandomModel.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

namespace FPForcePlugin {

namespace {

constexpr double pi = 3.14159265358979323846;
constexpr double scaleNm = 0.1;  // as in the description below

template <class Unsigned>
void appendLittleEndian(std::string& bytes, Unsigned value) {
    for (std::size_t i = 0; i < sizeof value; ++i)
        bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

template <class Unsigned, class Element>
void append(std::string& bytes, double value) {
    const Element element = static_cast<Element>(value);
    Unsigned bits;
    static_assert(sizeof bits == sizeof element, "one is written as the other");
    std::memcpy(&bits, &element, sizeof bits);
    appendLittleEndian(bytes, bits);
}

std::size_t product(const std::vector<std::int64_t>& shape) {
    std::size_t count = 1;
    for (const std::int64_t size : shape)
        count *= static_cast<std::size_t>(size);
    return count;
}

/** Adds weights of the size that training starts from, and biases. */
void addLinear(WeightsWriter& weights, Random& random, const std::string& name, int outputs, int inputs, bool bias = true) {
    const std::vector<std::int64_t> shape = {outputs, inputs};
    weights.add(name + ".weight", shape, random.normals(product(shape), 1.0 / std::sqrt(inputs)));
    if (bias)
        weights.add(name + ".bias", {outputs}, random.normals(static_cast<std::size_t>(outputs), 0.3));
}

/** Mean and variance of the distance between beads `apart` bonds apart, in normalised units. */
double meanDistance(int apart) {
    return 1.4 * std::sqrt(apart * (apart == 1 ? 1.0 : 1.5));
}

double distanceVariance(int apart) {
    return apart == 1 ? 0.003 : apart == 2 ? 0.01 : 0.2 * (apart - 2);
}

void addPrior(WeightsWriter& weights, int beads) {
    std::vector<double> vectors, variances, first, second, radius, variance, meanSquare;
    for (int mode = 1; mode < beads; ++mode) {  // of a chain of springs: cosines, orthogonal to the centre of mass
        for (int i = 0; i < beads; ++i)
            vectors.push_back(std::sqrt(2.0 / beads) * std::cos(pi * mode * (i + 0.5) / beads));
        const double stiffness = std::sin(0.5 * pi * mode / beads);
        variances.push_back(0.2 / (stiffness * stiffness));
    }
    for (int apart : {1, 2})
        for (int i = 0; i + apart < beads; ++i) {
            const double mean = meanDistance(apart), spread = distanceVariance(apart);
            first.push_back(i);
            second.push_back(i + apart);
            radius.push_back(mean - spread / mean);
            variance.push_back(spread);
            meanSquare.push_back((mean * mean + spread) / 3.0);
        }
    const std::int64_t pairs = static_cast<std::int64_t>(first.size());
    weights.add("prior.mode_vectors", {beads - 1, beads}, vectors, "F64");
    weights.add("prior.mode_variances", {beads - 1}, variances);
    weights.add("prior.first", {pairs}, first, "I64");
    weights.add("prior.second", {pairs}, second, "I64");
    weights.add("prior.radius", {pairs}, radius);
    weights.add("prior.variance", {pairs}, variance);
    weights.add("prior.mean_square", {pairs}, meanSquare);
    // As many modes as pairs, each of one pair and the next.
    std::vector<double> modes(static_cast<std::size_t>(pairs * pairs), 0.0), modeVariance;
    for (std::int64_t p = 0; p < pairs; ++p) {
        modes[static_cast<std::size_t>(p * pairs + p)] = 0.6;
        modes[static_cast<std::size_t>(p * pairs + (p + 1) % pairs)] -= 0.15;
        modeVariance.push_back(0.35 * variance[static_cast<std::size_t>(p)]);
    }
    weights.add("prior.couplings.modes", {pairs, pairs}, modes);
    weights.add("prior.couplings.variances", {pairs}, modeVariance);
    weights.add("prior.couplings.reach", {1}, {0.15});
}

void addWall(WeightsWriter& weights, int beads) {
    std::vector<double> first, second, distance;
    for (int i = 0; i < beads; ++i)
        for (int j = i + 3; j < beads; ++j) {
            first.push_back(i);
            second.push_back(j);
            distance.push_back(1.4 * scaleNm * meanDistance(j - i));
        }
    const std::int64_t pairs = static_cast<std::int64_t>(first.size());
    weights.add("wall.first", {pairs}, first, "I64");
    weights.add("wall.second", {pairs}, second, "I64");
    weights.add("wall.distance_nm", {pairs}, distance, "F64");
}

/** Energies of stretches of `window` beads; pairAt: the number of each pair of beads. */
void addWindows(WeightsWriter& weights, Random& random, const ModelShape& shape, const std::map<std::pair<int, int>, int>& pairAt) {
    const int pairs = static_cast<int>(pairAt.size()), turns = shape.beads - 3, count = shape.beads - shape.window + 1;
    std::vector<double> seen;
    for (int start = 0; start < count; ++start) {
        for (const int of : {0, pairs})
            for (int i = start; i < start + shape.window; ++i)
                for (int j = i + 1; j < start + shape.window; ++j)
                    seen.push_back(of + pairAt.at({i, j}));
        for (int part = 0; part < 4; ++part)
            for (int k = start; k < start + shape.window - 3; ++k)
                seen.push_back(2 * pairs + part * turns + k);
    }
    int inputs = static_cast<int>(seen.size()) / count;
    const std::int64_t width = shape.windowWidth;
    weights.add("network.windows.inputs", {count, inputs}, seen, "I64");
    weights.add("network.windows.earliest", {1}, std::vector<double>{0.05});
    for (int layer = 0; layer < shape.layers; ++layer) {
        addLinear(weights, random, "network.windows.hidden." + std::to_string(layer), shape.windowWidth, inputs);
        addLinear(weights, random, "network.windows.conditions." + std::to_string(layer), shape.windowWidth, 5);
        inputs = shape.windowWidth;
    }
    const std::size_t cells = static_cast<std::size_t>(count * width);
    weights.add("network.windows.places", {shape.layers, count, width},
                random.normals(static_cast<std::size_t>(shape.layers) * cells, 0.3));
    addLinear(weights, random, "network.windows.gate", shape.windowWidth, 5);
    weights.add("network.windows.out", {count, width}, random.normals(cells, 1.0 / std::sqrt(static_cast<double>(width))));
}

std::string describe(const std::string& kind, const ModelShape& shape, const std::string& settings, const std::string& constants) {
    std::string beads, bonds, positions;
    for (int i = 0; i < shape.beads; ++i) {
        const std::string comma = i == 0 ? "" : ", ";
        beads += comma + R"({"name": "CA", "residue": "ALA", "residue_index": )" + std::to_string(i) + R"(, "mass_da": 12.0, "atoms": [)" +
                 std::to_string(i) + "]}";
        positions += comma + "[" + std::to_string(0.14 * i) + ", 0.0, 0.0]";
        if (i > 0)
            bonds += (i == 1 ? "[" : ", [") + std::to_string(i - 1) + ", " + std::to_string(i) + "]";
    }
    return std::string(R"({"format": "fpforce", "format_version": )") + (shape.wall ? R"(6, "wall": {"height_kt": 1000.0})" : "6") +
           R"(, "fpforce_version": "0.1.0",
 "model": {"kind": ")" +
           kind + R"(", "settings": {"kind": ")" + kind + R"(", "width": )" + std::to_string(shape.width) + R"(, "layers": )" +
           std::to_string(shape.layers) + R"(, "prior": )" + (shape.prior ? "true" : "false") + R"(, "v_min": 0.001, "t_max": 1.0)" +
           settings + R"(}, "constants": {)" + constants + R"(}},
 "scale_nm": 0.1, "temperature_k": 300.0, "kt_kj_per_mol": 2.494338785445972, "t_eval": 1e-05,
 "beads": {"mapping": "ca", "beads": [)" +
           beads + R"(], "bonds": [)" + bonds + R"(]},
 "start_positions_nm": [)" +
           positions + R"(], "training": {"sources": ["r\u00e9sum\u00e9 \ud83e\uddea.xtc"], "steps": null}})";
}

}  // namespace

std::uint64_t Random::bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

std::size_t Random::below(std::size_t count) {
    return static_cast<std::size_t>(bits() % count);
}

double Random::uniform() {
    return static_cast<double>(bits() >> 11) * 0x1p-53;
}

double Random::normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(2.0 * pi * uniform());
}

std::vector<double> Random::normals(std::size_t count, double scale) {
    std::vector<double> values(count);
    for (double& value : values)
        value = scale * normal();
    return values;
}

void WeightsWriter::add(const std::string& name, const std::vector<std::int64_t>& shape, const std::vector<double>& values,
                        const std::string& type) {
    const std::size_t start = data_.size();
    for (const double value : values) {
        if (type == "F64")
            append<std::uint64_t, double>(data_, value);
        else if (type == "F32")
            append<std::uint32_t, float>(data_, value);
        else if (type == "I64")
            append<std::uint64_t, std::int64_t>(data_, value);
        else
            append<std::uint32_t, std::int32_t>(data_, value);
    }
    std::string sizes;
    for (const std::int64_t size : shape)
        sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    header_ += (header_.empty() ? "\"" : ",\"") + name + R"(":{"dtype":")" + type + R"(","shape":[)" + sizes + R"(],"data_offsets":[)" +
               std::to_string(start) + "," + std::to_string(data_.size()) + "]}";
}

std::string WeightsWriter::bytes() const {
    return safetensorsFile("{" + header_ + "}", data_);
}

std::string safetensorsFile(const std::string& header, const std::string& data) {
    std::string file;
    appendLittleEndian(file, static_cast<std::uint64_t>(header.size()));
    return file + header + data;
}

ModelText randomInternal(const ModelShape& shape) {
    Random random(shape.seed);
    WeightsWriter weights;
    std::vector<double> first, second, mean, variance;
    for (int i = 0; i < shape.beads; ++i)
        for (int j = i + 1; j < shape.beads; ++j) {
            first.push_back(i);
            second.push_back(j);
            mean.push_back(meanDistance(j - i));
            variance.push_back(distanceVariance(j - i));
        }
    const int pairs = static_cast<int>(first.size());
    weights.add("network.coordinates.first", {pairs}, first, "I64");
    weights.add("network.coordinates.second", {pairs}, second, "I64");
    weights.add("network.coordinates.mean", {pairs}, mean);
    weights.add("network.coordinates.variance", {pairs}, variance);
    std::vector<double> corners;
    for (int k = 2; shape.volumes && k < shape.beads; ++k)
        for (const int corner : {k * k % (k - 1), k - 1, k})
            corners.push_back(corner);
    const int volumes = static_cast<int>(corners.size()) / 3;
    if (shape.volumes)
        weights.add("network.coordinates.volumes", {volumes, 3}, corners, "I64");
    int inputs = 2 * pairs + 4 * std::max(shape.beads - 3, 0) + volumes;
    for (int layer = 0; layer < shape.layers; ++layer) {
        addLinear(weights, random, "network.hidden." + std::to_string(layer), shape.width, inputs);
        addLinear(weights, random, "network.conditions." + std::to_string(layer), shape.width, 5);
        inputs = shape.width;
    }
    addLinear(weights, random, "network.out", 1, shape.width, false);
    addLinear(weights, random, "network.gate", shape.width, 5);
    addLinear(weights, random, "network.offset.0", 32, 5);
    addLinear(weights, random, "network.offset.2", 1, 32);
    if (shape.prior)
        addPrior(weights, shape.beads);
    const std::int64_t turns = std::max(shape.beads - 3, 0) + std::max(shape.beads - 2, 0), orders = 5;
    if (shape.volumes && turns > 0)
        weights.add("network.series.weights", {2, turns, orders}, random.normals(static_cast<std::size_t>(2 * turns * orders), 0.01));
    std::vector<double> ends, centres, widths;  // of series of the distances of all pairs but (k, k + 2)
    for (std::size_t p = 0; p < first.size(); ++p)
        if (second[p] - first[p] != 2) {
            ends.insert(ends.end(), {first[p], second[p]});
            centres.push_back(1.1 * mean[p]);
            widths.push_back(1.5 * std::sqrt(variance[p]));
        }
    const std::int64_t distances = static_cast<std::int64_t>(centres.size()), fewer = 3;
    if (shape.volumes && turns > 0) {
        weights.add("network.pair_series.pairs", {distances, 2}, ends, "I64");
        weights.add("network.pair_series.centres", {distances}, centres);
        weights.add("network.pair_series.widths", {distances}, widths);
        weights.add("network.pair_series.weights", {2, distances, fewer}, random.normals(static_cast<std::size_t>(2 * distances * fewer), 0.01));
    }
    if (shape.window > 0) {
        std::map<std::pair<int, int>, int> pairAt;
        for (std::size_t p = 0; p < first.size(); ++p)
            pairAt[{static_cast<int>(first[p]), static_cast<int>(second[p])}] = static_cast<int>(p);
        addWindows(weights, random, shape, pairAt);
    }
    if (shape.wall)
        addWall(weights, shape.beads);
    return {describe("internal", shape, shape.volumes ? R"(, "volumes": true)" : "",
                     std::string(shape.volumes ? R"("earliest": 0.02, )" : "") +
                         R"("smooth_length": 0.2, "smooth_area": 0.45, "noise_area": 2.0, "smooth_arm": 0.45, "noise_arm": 1.4, "series_delta": 0.01, "series_span": 2.5)"),
            weights.bytes()};
}

ModelText randomGraphTransformer(const ModelShape& shape) {
    Random random(shape.seed);
    WeightsWriter weights;
    const int n = shape.beads, width = shape.width, heads = width / shape.headWidth, vocabulary = 3;
    std::vector<double> names, residues, frames, separation, bondDistance, mean, variance, centres;
    for (int i = 0; i < n; ++i) {
        names.push_back(i % vocabulary);
        residues.push_back(i * i % vocabulary);
        const int inwards = i == 0 ? 1 : -1;  // an end of the chain looks along it
        const bool end = i == 0 || i == n - 1;
        const auto bead = [n](int index) { return std::clamp(index, 0, n - 1); };
        for (const int corner : {end ? i : i - 1, end ? bead(i + inwards) : i, end ? bead(i + 2 * inwards) : i + 1})
            frames.push_back(corner);
        for (int j = 0; j < n; ++j) {
            separation.push_back(std::clamp(j - i, -4, 4) + 4);
            bondDistance.push_back(std::min(std::abs(j - i), 5));
            mean.push_back(meanDistance(std::abs(j - i)));
            variance.push_back(i == j ? 1.0 : distanceVariance(std::abs(j - i)));
        }
    }
    for (int k = 0; k < 16; ++k)
        centres.push_back(1.3 + 0.35 * k);
    weights.add("network.names", {n}, names, "I64");
    weights.add("network.residues", {n}, residues, "I64");
    weights.add("network.frames", {n, 3}, frames, "I64");
    weights.add("network.separation", {n, n}, separation, "I64");
    weights.add("network.bond_distance", {n, n}, bondDistance, "I64");
    weights.add("network.distance_mean", {n, n}, mean);
    weights.add("network.distance_variance", {n, n}, variance);
    weights.add("network.core.edges.centres", {16}, centres);
    weights.add("network.core.edges.radial_width", {1}, {0.35});
    const auto addNormals = [&](const std::string& name, const std::vector<std::int64_t>& sizes, double scale) {
        weights.add(name, sizes, random.normals(product(sizes), scale));
    };
    const auto addNorm = [&](const std::string& name) {
        std::vector<double> factors = random.normals(static_cast<std::size_t>(width), 0.2);
        for (double& factor : factors)
            factor += 1.0;
        weights.add(name + ".weight", {width}, factors);
        addNormals(name + ".bias", {width}, 0.1);
    };
    addNormals("network.identity", {n, width}, 1.0);
    addNormals("network.core.names.weight", {vocabulary, width}, 1.0);
    addNormals("network.core.residues.weight", {vocabulary, width}, 1.0);
    addLinear(weights, random, "network.core.level", width, 5);
    for (int layer = 0; layer < shape.layers; ++layer) {
        const std::string name = "network.core.layers." + std::to_string(layer);
        addNorm(name + ".attention_norm");
        addLinear(weights, random, name + ".attention.qkv", 3 * width, width);
        addNormals(name + ".attention.key_edges", {heads, shape.headWidth, 48}, 0.14);
        addNormals(name + ".attention.value_edges", {heads, shape.headWidth, 48}, 0.14);
        addLinear(weights, random, name + ".attention.out", width, width);
        addNorm(name + ".norm");
        addLinear(weights, random, name + ".hidden", 2 * width, width);
        addLinear(weights, random, name + ".condition", 2 * width, 5, false);
        addLinear(weights, random, name + ".out", width, 2 * width);
    }
    addNorm("network.core.norm");
    addLinear(weights, random, "network.core.hidden", width, width);
    addLinear(weights, random, "network.core.condition", width, 5, false);
    addLinear(weights, random, "network.core.out", 1, width, false);
    addLinear(weights, random, "network.core.gate", width, 5);
    addLinear(weights, random, "network.core.offset.0", 32, 5);
    addLinear(weights, random, "network.core.offset.2", 1, 32);
    if (shape.prior)
        addPrior(weights, n);
    if (shape.wall)
        addWall(weights, n);
    return {
        describe("graph_transformer", shape,
                 R"(, "head_width": )" + std::to_string(shape.headWidth) + R"(, "identity": true, "edges": "frames", "cutoff_nm": null)",
                 R"("smooth_length": 0.2, "noise_length": 1.0, "smooth_area": 0.45, "noise_area": 2.0, "cutoff": 0.0)"),
        weights.bytes()};
}

std::vector<double> randomFrame(int beads, Random& random) {
    // Steps of bond length, each within a cone around the one before, so that the chain is folded but not on itself.
    std::vector<double> frame(3, 0.0);
    std::vector<double> direction = {1.0, 0.0, 0.0};
    for (int i = 1; i < beads; ++i) {
        double length = 0.0;
        for (double& component : direction) {
            component += 0.6 * random.normal();
            length += component * component;
        }
        for (std::size_t axis = 0; axis < 3; ++axis) {
            direction[axis] /= std::sqrt(length);
            frame.push_back(frame[frame.size() - 3] + scaleNm * (meanDistance(1) + 0.05 * random.normal()) * direction[axis]);
        }
    }
    return frame;
}

}  // namespace FPForcePlugin
