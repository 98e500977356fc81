#include "InternalPlan.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "../ModelError.h"

namespace FPForcePlugin {

template <class Real>
InternalPlan<Real>::InternalPlan(const ModelFile& model, int panel)
    : beads(model.beads()), width(model.integer("model.settings.width", 1, 4096)), dihedrals(std::max(beads - 3, 0)) {
    const int depth = model.integer("model.settings.layers", 1, 32);
    const NoiseLevel level(std::max(model.tEval(), model.has("model.constants.earliest") ? model.number("model.constants.earliest", 0.0, 1.0) : 0.0));
    const double length = model.number("model.constants.smooth_length", 0.0, 1e3);
    const double area = model.number("model.constants.smooth_area", 0.0, 1e3);
    const double noiseArea = model.number("model.constants.noise_area", 0.0, 1e3);
    squaredLength = length * length;
    blur = area * area + noiseArea * noiseArea * level.noise;

    const std::int64_t count = static_cast<std::int64_t>(beads) * (beads - 1) / 2;
    const Tensor& mean = model.tensor("network.coordinates.mean", {count});
    const Tensor& variance = model.tensor("network.coordinates.variance", {count});
    const std::vector<int> first = model.indices("network.coordinates.first", {count}, 0, beads - 1);
    const std::vector<int> second = model.indices("network.coordinates.second", {count}, 0, beads - 1);
    std::vector<double> share;  // of noise in the pair's variance: the second feature over the first
    for (std::size_t p = 0; p < first.size(); ++p) {
        const double spread = level.signal * variance.values[p] + 2.0 * level.noise;
        if (!(spread > 0.0) || first[p] == second[p])
            throw ModelError("fpforce.safetensors: network.coordinates describes pair " + std::to_string(p) + " of beads " + std::to_string(first[p]) + " and " +
                             std::to_string(second[p]) + " with variance " + std::to_string(variance.values[p]) + "; export the model again");
        pairs.push_back({first[p], second[p], level.alpha * mean.values[p], 1.0 / std::sqrt(spread)});
        share.push_back(2.0 * level.noise / spread);
    }
    if (model.has("model.settings.volumes") && model.flag("model.settings.volumes"))
        readVolumes(model, level);
    if (model.hasTensor("network.series.weights") || (model.has("model.series") && model.flag("model.series")))
        readSeries(model);
    if (model.hasTensor("network.pair_series.weights") || (model.has("model.pair_series") && model.flag("model.pair_series")))
        readPairSeries(model);

    const std::vector<double> time = noiseFeatures(model, level);
    const std::int64_t features5 = static_cast<std::int64_t>(time.size());
    int inputs = features();
    for (int l = 0; l < depth; ++l) {
        const std::string hidden = "network.hidden." + std::to_string(l), condition = "network.conditions." + std::to_string(l);
        const int stored = l == 0 ? features() + static_cast<int>(count) : width;
        const Tensor& weight = model.tensor(hidden + ".weight", {width, stored});
        const std::vector<double> fixed = linear(model.tensor(condition + ".weight", {width, features5}),
                                                 model.tensor(condition + ".bias", {width}).values, time);
        const Tensor& bias = model.tensor(hidden + ".bias", {width});
        const int pairCount = l == 0 ? static_cast<int>(count) : 0;
        const auto entry = [&](int output, int input) {
            const double* row = weight.values.data() + static_cast<std::size_t>(output) * static_cast<std::size_t>(stored);
            const std::size_t i = static_cast<std::size_t>(input);
            if (input < pairCount)
                return row[i] + share[i] * row[i + static_cast<std::size_t>(pairCount)];
            return row[i + static_cast<std::size_t>(pairCount)];
        };
        Layer layer;
        layer.forward = PackedMatrix<Real>(inputs, width, panel, [&](int k, int j) { return entry(j, k); });
        layer.backward = PackedMatrix<Real>(width, inputs, panel, [&](int k, int j) { return entry(k, j); });
        layer.bias = AlignedBuffer<Real>(static_cast<std::size_t>(layer.forward.view().paddedColumns()));
        for (std::size_t i = 0; i < static_cast<std::size_t>(width); ++i)
            layer.bias[i] = static_cast<Real>(bias.values[i] + fixed[i]);
        layers.push_back(std::move(layer));
        inputs = width;
    }

    const Tensor& weight = model.tensor("network.out.weight", {1, width});
    const std::vector<double> gate = linear(model.tensor("network.gate.weight", {width, features5}),
                                            model.tensor("network.gate.bias", {width}).values, time);
    out = AlignedBuffer<Real>(layers.back().bias.size());
    for (std::size_t i = 0; i < static_cast<std::size_t>(width); ++i)
        out[i] = static_cast<Real>(level.signal * weight.values[i] * (1.0 + gate[i]));

    constant = timeHead(model, "network.offset", time);
    if (model.hasTensor("network.windows.out") || (model.has("model.windows") && model.flag("model.windows")))
        readWindows(model, level, panel);
}

template <class Real>
void InternalPlan<Real>::readWindows(const ModelFile& model, const NoiseLevel& level, int panel) {
    const std::string name = "network.windows.";
    const double earliest = model.tensor(name + "earliest", {1}).values[0];
    if (!(earliest >= 0.0 && earliest <= 1.0))
        throw ModelError("fpforce.safetensors: network.windows.earliest is " + std::to_string(earliest) + ", not a time from 0 to 1; export the model again");
    const NoiseLevel late(std::max(level.t, earliest));
    const std::vector<double> time = noiseFeatures(model, late);
    const Tensor& last = model.tensor(name + "out", {-1, -1});
    windows.count = static_cast<int>(last.shape[0]);
    windows.width = static_cast<int>(last.shape[1]);
    const int pairCount = static_cast<int>(pairs.size()), depth = static_cast<int>(layers.size());
    const std::vector<int> stored = model.indices(name + "inputs", {windows.count, -1}, 0, features() + pairCount - 1);
    if (stored.empty() || windows.width == 0)
        throw ModelError("fpforce.safetensors: network.windows has no inputs or no neurons; export the model again");
    windows.inputs = static_cast<int>(stored.size()) / windows.count;
    windows.factor = AlignedBuffer<Real>(stored.size());
    // As above, the second feature of a pair is a constant times the first; and the first at another noise is linear in it.
    const Tensor& variance = model.tensor("network.coordinates.variance", {pairCount});
    std::vector<double> shift(stored.size());
    for (std::size_t k = 0; k < stored.size(); ++k) {
        const int feature = stored[k] < pairCount ? stored[k] : stored[k] - pairCount;
        windows.feature.push_back(feature);
        double factor = 1.0;
        if (feature < pairCount) {
            const Pair& pair = pairs[static_cast<std::size_t>(feature)];
            const double spread = late.signal * variance.values[static_cast<std::size_t>(feature)] + 2.0 * late.noise;
            const double scale = (stored[k] < pairCount ? 1.0 : 2.0 * late.noise / spread) / std::sqrt(spread);
            factor = scale / pair.inverseWidth;
            shift[k] = scale * pair.mean * (1.0 - late.alpha / level.alpha);
        }
        windows.factor[k] = static_cast<Real>(factor);
    }
    const std::int64_t width = windows.width, features5 = static_cast<std::int64_t>(time.size());
    const Tensor& places = model.tensor(name + "places", {depth, windows.count, width});
    int inputs = windows.inputs;
    for (int l = 0; l < depth; ++l) {
        const std::string hidden = name + "hidden." + std::to_string(l), condition = name + "conditions." + std::to_string(l);
        const Tensor& weight = model.tensor(hidden + ".weight", {width, inputs});
        const Tensor& bias = model.tensor(hidden + ".bias", {width});
        const std::vector<double> fixed = linear(model.tensor(condition + ".weight", {width, features5}),
                                                 model.tensor(condition + ".bias", {width}).values, time);
        const auto entry = [&](int output, int input) { return weight.values[static_cast<std::size_t>(output) * static_cast<std::size_t>(inputs) + static_cast<std::size_t>(input)]; };
        Layer layer;
        layer.forward = PackedMatrix<Real>(inputs, windows.width, panel, [&](int k, int j) { return entry(j, k); });
        layer.backward = PackedMatrix<Real>(windows.width, inputs, panel, [&](int k, int j) { return entry(k, j); });
        const std::size_t length = static_cast<std::size_t>(layer.forward.view().paddedColumns()), columns = static_cast<std::size_t>(width);
        layer.bias = AlignedBuffer<Real>(length * static_cast<std::size_t>(windows.count));
        for (std::size_t w = 0; w < static_cast<std::size_t>(windows.count); ++w)
            for (std::size_t i = 0; i < columns; ++i)
{
                double shifted = 0.0;
                for (int k = 0; l == 0 && k < inputs; ++k)
                    shifted += entry(static_cast<int>(i), k) * shift[w * static_cast<std::size_t>(inputs) + static_cast<std::size_t>(k)];
                layer.bias[w * length + i] =
                    static_cast<Real>(bias.values[i] + fixed[i] + shifted + places.values[(static_cast<std::size_t>(l * windows.count) + w) * columns + i]);
            }
        windows.layers.push_back(std::move(layer));
        inputs = windows.width;
    }
    const std::vector<double> gate = linear(model.tensor(name + "gate.weight", {width, features5}),
                                            model.tensor(name + "gate.bias", {width}).values, time);
    const std::size_t length = static_cast<std::size_t>(windows.length()), columns = static_cast<std::size_t>(width);
    windows.out = AlignedBuffer<Real>(length * static_cast<std::size_t>(windows.count));
    for (std::size_t w = 0; w < static_cast<std::size_t>(windows.count); ++w)
        for (std::size_t i = 0; i < columns; ++i)
            windows.out[w * length + i] = static_cast<Real>(late.signal * last.values[w * columns + i] * (1.0 + gate[i]));
}

template <class Real>
void InternalPlan<Real>::readVolumes(const ModelFile& model, const NoiseLevel& level) {
    const double arm = model.number("model.constants.smooth_arm", 0.0, 1e3), noiseArm = model.number("model.constants.noise_arm", 0.0, 1e3);
    armBlur = arm * arm + noiseArm * noiseArm * level.noise;
    const std::vector<int> corners = model.indices("network.coordinates.volumes", {-1, 3}, 0, beads - 1);
    if (!corners.empty() && !(armBlur > 0.0))
        throw ModelError("fpforce.json: model.constants.smooth_arm and noise_arm are 0, and divide what may be 0; export the model again");
    for (std::size_t v = 0; v + 2 < corners.size(); v += 3)
        volumes.push_back({corners[v], corners[v + 1], corners[v + 2]});
}

template <class Real>
void InternalPlan<Real>::readSeries(const ModelFile& model) {
    const int turns = dihedrals + std::max(beads - 2, 0);
    delta = model.number("model.constants.series_delta", 1e-12, 1e3);
    span = model.number("model.constants.series_span", 1e-3, 1e3);
    addSeries(model.tensor("network.series.weights", {2, turns, -1}));
    for (const Pair& pair : pairs)
        turnOf.push_back(pair.second - pair.first == 2 ? Turn{dihedrals + pair.first, pair.mean, pair.inverseWidth / span} : Turn{-1, 0.0, 0.0});
}

template <class Real>
void InternalPlan<Real>::readPairSeries(const ModelFile& model) {
    if (series.empty())
        throw ModelError("fpforce.safetensors: network.pair_series is there and network.series is not; export the model again");
    const int first = static_cast<int>(series.size());
    const Tensor& centres = model.tensor("network.pair_series.centres", {-1});
    const std::int64_t count = static_cast<std::int64_t>(centres.values.size());
    const Tensor& widths = model.tensor("network.pair_series.widths", {count});
    const std::vector<int> between = model.indices("network.pair_series.pairs", {count, 2}, 0, beads - 1);
    addSeries(model.tensor("network.pair_series.weights", {2, count, -1}));
    for (std::size_t k = 0; k < centres.values.size(); ++k) {
        const auto own = std::find_if(pairs.begin(), pairs.end(), [&](const Pair& pair) { return pair.first == between[2 * k] && pair.second == between[2 * k + 1]; });
        if (own == pairs.end() || turnOf[static_cast<std::size_t>(own - pairs.begin())].series >= 0 || !(widths.values[k] > 0.0))
            throw ModelError("fpforce.safetensors: network.pair_series has pair " + std::to_string(k) + " of beads " + std::to_string(between[2 * k]) + " and " +
                             std::to_string(between[2 * k + 1]) + " with width " + std::to_string(widths.values[k]) + "; export the model again");
        turnOf[static_cast<std::size_t>(own - pairs.begin())] = {first + static_cast<int>(k), centres.values[k], 1.0 / widths.values[k]};
    }
}

template <class Real>
void InternalPlan<Real>::addSeries(const Tensor& weights) {
    const std::size_t count = static_cast<std::size_t>(weights.shape[1]), orders = static_cast<std::size_t>(weights.shape[2]);
    for (std::size_t k = 0; k < count; ++k) {
        const auto even = weights.values.begin() + static_cast<std::ptrdiff_t>(k * orders), odd = even + static_cast<std::ptrdiff_t>(count * orders);
        const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(orders);
        series.push_back({{even, even + size}, {odd, odd + size}});
    }
}

template struct InternalPlan<float>;
template struct InternalPlan<double>;

}  // namespace FPForcePlugin
