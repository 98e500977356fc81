// Longer than other files, since the plan folds every part of the network, in the order in which they are evaluated.

#include "GraphTransformerPlan.h"

#include <cmath>
#include <string>

#include "../ModelError.h"

namespace FPForcePlugin {

namespace {

typedef std::vector<double> Values;

std::size_t at(int index) {
    return static_cast<std::size_t>(index);
}

int roundUp(int size, int multiple) {
    return (size + multiple - 1) / multiple * multiple;
}

/** A linear layer (rows x inputs, row-major) in float64, with what is folded into it. */
struct Dense {
    int rows, inputs;
    Values weight, bias;

    /** The layer `name`, its bias zero where the model has none. */
    Dense(const ModelFile& model, const std::string& name, int rows_, int inputs_)
        : rows(rows_), inputs(inputs_), weight(model.tensor(name + ".weight", {rows_, inputs_}).values),
          bias(model.hasTensor(name + ".bias") ? model.tensor(name + ".bias", {rows_}).values : Values(at(rows_), 0.0)) {}

    /** Takes over the scale and shift of the LayerNorm `name` before it. */
    void foldNorm(const ModelFile& model, const std::string& name) {
        const Values& scale = model.tensor(name + ".weight", {inputs}).values;
        const Values& shift = model.tensor(name + ".bias", {inputs}).values;
        for (std::size_t i = 0; i < bias.size(); ++i)
            for (std::size_t k = 0; k < scale.size(); ++k) {
                double& element = weight[i * scale.size() + k];
                bias[i] += element * shift[k];
                element *= scale[k];
            }
    }
    void addToBias(const Values& constant) {
        for (std::size_t i = 0; i < bias.size(); ++i)
            bias[i] += constant[i];
    }
    void scaleRows(int first, int count, double factor) {
        for (int i = first; i < first + count; ++i) {
            bias[at(i)] *= factor;
            for (int k = 0; k < inputs; ++k)
                weight[at(i) * at(inputs) + at(k)] *= factor;
        }
    }
    double operator()(int row, int input) const {
        return weight[at(row) * at(inputs) + at(input)];
    }
    Values of(const Values& x) const {
        Values y = bias;
        for (int i = 0; i < rows; ++i)
            for (int k = 0; k < inputs; ++k)
                y[at(i)] += (*this)(i, k) * x[at(k)];
        return y;
    }
};

/** Where the elements of a padded row come from: the index in the model, or -1 in the padding. */
typedef std::vector<int> Places;

Places plain(int count) {
    Places places(at(count));
    for (int i = 0; i < count; ++i)
        places[at(i)] = i;
    return places;
}

template <class Real>
typename GraphTransformerPlan<Real>::Linear pack(const Dense& dense, const Places& rows, const Places& inputs, int panel) {
    const auto element = [&](int row, int input) {
        return rows[at(row)] < 0 || inputs[at(input)] < 0 ? 0.0 : dense(rows[at(row)], inputs[at(input)]);
    };
    typename GraphTransformerPlan<Real>::Linear linear;
    const int outputs = static_cast<int>(rows.size()), depth = static_cast<int>(inputs.size());
    linear.weight = PackedMatrix<Real>(depth, outputs, panel, [&](int k, int j) { return element(j, k); }, Ways::Both);
    linear.bias = AlignedBuffer<Real>(at(linear.weight.view().paddedColumns()));
    for (std::size_t j = 0; j < rows.size(); ++j)
        linear.bias[j] = rows[j] < 0 ? Real(0) : static_cast<Real>(dense.bias[at(rows[j])]);
    return linear;
}

/** heads x headWidth x edge of the model in the two layouts of EdgeMap. */
template <class Real>
typename GraphTransformerPlan<Real>::EdgeMap packEdges(const Values& map, int heads, int headWidth, int headRow) {
    constexpr int edge = GraphTransformerPlan<Real>::edge;
    typename GraphTransformerPlan<Real>::EdgeMap packed;
    packed.toEdge = AlignedBuffer<Real>(map.size());
    packed.fromEdge = AlignedBuffer<Real>(at(heads) * edge * at(headRow));
    for (int h = 0; h < heads; ++h)
        for (int d = 0; d < headWidth; ++d)
            for (int k = 0; k < edge; ++k) {
                const std::size_t source = (at(h) * at(headWidth) + at(d)) * edge + at(k);
                packed.toEdge[source] = static_cast<Real>(map[source]);
                packed.fromEdge[(at(h) * edge + at(k)) * at(headRow) + at(d)] = static_cast<Real>(map[source]);
            }
    return packed;
}

Values normalised(const Values& h) {
    double mean = 0.0, variance = 0.0;
    for (double value : h)
        mean += value / static_cast<double>(h.size());
    for (double value : h)
        variance += (value - mean) * (value - mean) / static_cast<double>(h.size());
    Values result;
    for (double value : h)
        result.push_back((value - mean) / std::sqrt(variance + 1e-5));
    return result;
}

}  // namespace

template <class Real>
double GraphTransformerPlan<Real>::multiplyAdds() const {
    const double n = beads, w = width, dense = 16.0 * w * w + 4.0 * w * edge, pairs = n * (4.0 * w + 6.0 * heads * edge);
    return n * (static_cast<double>(layers.size()) * (dense + pairs) + 2.0 * w * w);
}

template <class Real>
GraphTransformerPlan<Real>::GraphTransformerPlan(const ModelFile& model, const NoiseLevel& level, int panel, int lanes)
    : beads(model.beads()), width(model.integer("model.settings.width", 1, 4096)), headWidth(model.integer("model.settings.head_width", 1, 4096)) {
    if (const std::string kind = model.text("model.settings.edges"); kind != "frames")
        throw ModelError("fpforce.json: model.settings.edges is '" + kind + "'; the native evaluation knows frames: use another backend");
    if (model.has("model.settings.cutoff_nm"))
        throw ModelError("fpforce.json: model.settings.cutoff_nm is set; the native evaluation has no cutoff: use another backend");
    if (width % headWidth != 0)
        throw ModelError("fpforce.json: model.settings.width = " + std::to_string(width) + " is no multiple of head_width = " + std::to_string(headWidth));
    heads = width / headWidth;
    rowLength = roundUp(width, panel);
    hiddenLength = roundUp(2 * width, panel);
    headRow = roundUp(headWidth, lanes);
    headsWidth = heads * headRow;
    headsRow = roundUp(headsWidth, panel);
    projectedRow = roundUp(3 * headsWidth, panel);
    pairRow = roundUp(beads, lanes);
    readGeometry(model, level);
    readClasses(model);
    readLayers(model, noiseFeatures(model, level), panel);
    readHead(model, noiseFeatures(model, level), level.signal, panel);
}

template <class Real>
void GraphTransformerPlan<Real>::readGeometry(const ModelFile& model, const NoiseLevel& level) {
    const auto fixed = [&](const char* name) { return model.number(std::string("model.constants.") + name, 0.0, 1e3); };
    const double length = fixed("smooth_length"), noiseLength = fixed("noise_length");
    const double area = fixed("smooth_area"), noiseArea = fixed("noise_area");
    squaredLength = length * length;
    axisLength = squaredLength + noiseLength * noiseLength * level.noise;
    axisArea = area * area + noiseArea * noiseArea * level.noise;
    const Tensor& stored = model.tensor("network.core.edges.centres", {radial});
    for (std::size_t k = 0; k < centres.size(); ++k)
        centres[k] = static_cast<Real>(level.alpha * stored.values[k]);
    const double radialWidth = model.tensor("network.core.edges.radial_width", {1}).values[0];
    const double spread = level.signal * radialWidth * radialWidth + 2.0 * level.noise;
    if (!(spread > 0.0) || !(squaredLength > 0.0) || !(axisArea > 0.0))
        throw ModelError("fpforce.safetensors: network.core.edges.radial_width and model.constants must give positive widths; export the model again");
    radialFactor = static_cast<Real>(-0.5 / spread);
    frames = model.indices("network.frames", {beads, 3}, 0, beads - 1);
    const Tensor& mean = model.tensor("network.distance_mean", {beads, beads});
    const Tensor& variance = model.tensor("network.distance_variance", {beads, beads});
    const std::size_t n = at(beads), row = at(pairRow);
    distanceMeans = AlignedBuffer<double>(n * row);
    distanceFactors = AlignedBuffer<double>(n * row);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            const double square = level.signal * variance.values[i * n + j] + 2.0 * level.noise;
            if (!(square > 0.0))
                throw ModelError("fpforce.safetensors: network.distance_variance has the value " + std::to_string(variance.values[i * n + j]) +
                                 " where a positive one is needed; export the model again");
            distanceMeans[i * row + j] = level.alpha * mean.values[i * n + j];
            distanceFactors[i * row + j] = 1.0 / std::sqrt(square);
        }
}

template <class Real>
void GraphTransformerPlan<Real>::readClasses(const ModelFile& model) {
    const std::vector<int> separation = model.indices("network.separation", {beads, beads}, 0, separations - 1);
    const std::vector<int> bonds = model.indices("network.bond_distance", {beads, beads}, 0, classes - separations - 1);
    const std::size_t n = at(beads), row = at(pairRow);
    classRows = AlignedBuffer<Real>(n * classes * row);
    classColumns = AlignedBuffer<Real>(n * n * classes);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t k : {at(separation[i * n + j]), at(separations + bonds[i * n + j])}) {
                classRows[(i * classes + k) * row + j] = 1;
                classColumns[(i * n + j) * classes + k] = 1;
            }
}

template <class Real>
void GraphTransformerPlan<Real>::readLayers(const ModelFile& model, const Values& time, int panel) {
    const int depth = model.integer("model.settings.layers", 1, 32);
    Places projected;  // the model's queries, keys and values, head by head, in padded rows
    for (int part = 0; part < 3; ++part)
        for (int h = 0; h < heads; ++h)
            for (int d = 0; d < headRow; ++d)
                projected.push_back(d < headWidth ? (part * heads + h) * headWidth + d : -1);
    const Places joined(projected.begin(), projected.begin() + headsWidth);
    for (int l = 0; l < depth; ++l) {
        const std::string name = "network.core.layers." + std::to_string(l);
        Dense attention(model, name + ".attention.qkv", 3 * width, width);
        attention.foldNorm(model, name + ".attention_norm");
        attention.scaleRows(0, width, 1.0 / std::sqrt(static_cast<double>(headWidth)));
        Dense up(model, name + ".hidden", 2 * width, width);
        up.foldNorm(model, name + ".norm");
        up.addToBias(Dense(model, name + ".condition", 2 * width, static_cast<int>(time.size())).of(time));
        const Values& queryEdges = model.tensor(name + ".attention.key_edges", {heads, headWidth, edge}).values;
        const Values& valueEdges = model.tensor(name + ".attention.value_edges", {heads, headWidth, edge}).values;
        Layer layer;
        if (l > 0) {
            layer.attention = pack<Real>(attention, projected, plain(width), panel);
            layer.query = packEdges<Real>(queryEdges, heads, headWidth, headRow);
        }
        layer.value = packEdges<Real>(valueEdges, heads, headWidth, headRow);
        layer.out = pack<Real>(Dense(model, name + ".attention.out", width, width), plain(width), joined, panel);
        layer.up = pack<Real>(up, plain(2 * width), plain(width), panel);
        layer.down = pack<Real>(Dense(model, name + ".out", width, 2 * width), plain(width), plain(2 * width), panel);
        layers.push_back(std::move(layer));
        if (l == 0) {
            std::vector<Values> rows;
            for (const Values& node : readNodes(model, time))
                rows.push_back(attention.of(normalised(node)));
            fixFirstAttention(rows, projected, queryEdges);
        }
    }
}

template <class Real>
std::vector<std::vector<double>> GraphTransformerPlan<Real>::readNodes(const ModelFile& model, const Values& time) {
    const Tensor& names = model.tensor("network.core.names.weight", {-1, width});
    const Tensor& residues = model.tensor("network.core.residues.weight", {-1, width});
    const std::vector<int> name = model.indices("network.names", {beads}, 0, static_cast<int>(names.shape[0]) - 1);
    const std::vector<int> residue = model.indices("network.residues", {beads}, 0, static_cast<int>(residues.shape[0]) - 1);
    const Values atLevel = Dense(model, "network.core.level", width, static_cast<int>(time.size())).of(time);
    const Tensor* identity = model.hasTensor("network.identity") ? &model.tensor("network.identity", {beads, width}) : nullptr;
    const std::size_t w = at(width);
    nodes = AlignedBuffer<Real>(at(beads) * at(rowLength));
    std::vector<Values> rows;
    for (std::size_t i = 0; i < at(beads); ++i) {
        Values row = atLevel;
        for (std::size_t k = 0; k < w; ++k) {
            row[k] += names.values[at(name[i]) * w + k] + residues.values[at(residue[i]) * w + k];
            if (identity != nullptr)
                row[k] += identity->values[i * w + k];
            nodes[i * at(rowLength) + k] = static_cast<Real>(row[k]);
        }
        rows.push_back(row);
    }
    return rows;
}

template <class Real>
void GraphTransformerPlan<Real>::fixFirstAttention(const std::vector<Values>& rows, const std::vector<int>& places, const Values& queryEdges) {
    const std::size_t n = at(beads), h = at(heads), d = at(headWidth), w = at(width);
    firstAttention = AlignedBuffer<Real>(n * at(projectedRow));
    firstEdgeQueries = AlignedBuffer<Real>(n * h * edge);
    firstLogits = AlignedBuffer<Real>(n * h * at(pairRow));
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t p = 0; p < places.size(); ++p)
            firstAttention[i * at(projectedRow) + p] = places[p] < 0 ? Real(0) : static_cast<Real>(rows[i][at(places[p])]);
        for (std::size_t head = 0; head < h; ++head) {
            Values perEdge(edge, 0.0);
            for (std::size_t e = 0; e < d; ++e)
                for (std::size_t k = 0; k < edge; ++k)
                    perEdge[k] += rows[i][head * d + e] * queryEdges[(head * d + e) * edge + k];
            for (std::size_t k = 0; k < edge; ++k)
                firstEdgeQueries[(i * h + head) * edge + k] = static_cast<Real>(perEdge[k]);
            for (std::size_t j = 0; j < n; ++j) {
                double logit = 0.0;
                for (std::size_t e = 0; e < d; ++e)
                    logit += rows[i][head * d + e] * rows[j][w + head * d + e];
                for (std::size_t k = 0; k < classes; ++k)
                    logit += perEdge[geometric + k] * static_cast<double>(classRows[(i * classes + k) * at(pairRow) + j]);
                firstLogits[(i * h + head) * at(pairRow) + j] = static_cast<Real>(logit);
            }
        }
    }
}

template <class Real>
void GraphTransformerPlan<Real>::readHead(const ModelFile& model, const Values& time, double signal, int panel) {
    const int features = static_cast<int>(time.size());
    Dense hidden(model, "network.core.hidden", width, width);
    hidden.foldNorm(model, "network.core.norm");
    hidden.addToBias(Dense(model, "network.core.condition", width, features).of(time));
    last = pack<Real>(hidden, plain(width), plain(width), panel);
    const Values gate = Dense(model, "network.core.gate", width, features).of(time);
    const Values& weight = model.tensor("network.core.out.weight", {1, width}).values;
    out = AlignedBuffer<Real>(at(rowLength));
    for (std::size_t k = 0; k < weight.size(); ++k)
        out[k] = static_cast<Real>(signal * weight[k] * (1.0 + gate[k]));
    constant = timeHead(model, "network.core.offset", time);
}

template struct GraphTransformerPlan<float>;
template struct GraphTransformerPlan<double>;

}  // namespace FPForcePlugin
