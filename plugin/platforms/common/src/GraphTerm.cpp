#include <algorithm>

#include "DeviceTerm.h"
#include "KernelText.h"

namespace FPForcePlugin {

namespace {

typedef GraphTransformerPlan<double> Plan;

/** Memory of a device that a network may take for what it has to remember on the way back. */
constexpr std::size_t mostScratchBytes = std::size_t(1) << 30;

/** The steps of graph.cc: 3, 11 for each layer forwards, 4 of the head, 11 for each layer backwards, 4. */
struct GraphSteps {
    int layers;
    explicit GraphSteps(int layers_) : layers(layers_) {
    }
    int count() const {
        return 3 + 11 * layers + 4 + 11 * layers + 4;
    }
    int energy() const {
        return 3 + 11 * layers + 1;
    }
    /** Those of the first layer that concern its queries and keys, which are constant: first on the way there, last on the way back. */
    bool isEmpty(int step) const {
        const int end = count() - 4;
        return (step >= 3 && step < 6) || (step >= end - 3 && step < end);
    }
};

/**
 * How the work is shared; see kernels/graph.cc.
 *
 * A group for each molecule needs one launch, and waits between steps for its own threads alone; of few large molecules that would leave
 * most of a device idle. The numbers are estimates from instruction counts; they are yet to be measured on a GPU.
 */
struct GraphForm {
    static constexpr int rowsAtOnce = 4;
    bool fused;
    int slots, threads;
    std::size_t row, geometryRow = 21;  // numbers a bead, as graph.cc lays them out

    std::size_t bytesOfSlot(const DeviceBeads& beads) const {
        return static_cast<std::size_t>(beads.beads) * (row * static_cast<std::size_t>(beads.networkBytes()) +
                                                        geometryRow * static_cast<std::size_t>(beads.geometryBytes()));
    }
    GraphForm(const DeviceBeads& beads, const Plan& plan) {
        const std::size_t n = static_cast<std::size_t>(beads.beads), width = static_cast<std::size_t>(plan.width);
        const std::size_t heads = static_cast<std::size_t>(plan.heads), perHead = heads * Plan::edge + heads * n;
        row = 10 * width + 10 + heads * Plan::edge + perHead + 2 * Plan::geometric * n + plan.layers.size() * (7 * width + 2 + perHead);
        const std::size_t most = mostScratchBytes / bytesOfSlot(beads);
        if (most == 0)
            throw DeviceUnsuitable("a molecule of " + std::to_string(beads.beads) + " beads takes " + std::to_string(bytesOfSlot(beads)) +
                                   " bytes of memory on the way back, of " + std::to_string(mostScratchBytes));
        const int slotsAtMost = static_cast<int>(std::min<std::size_t>(most, static_cast<std::size_t>(beads.replicas)));
        fused = plan.multiplyAdds() < 3e6 || beads.replicas >= 64 || slotsAtMost < beads.replicas;
        slots = fused ? std::min(slotsAtMost, beads.cc.getNumThreadBlocks()) : beads.replicas;
        threads = std::min(fused ? 256 : 128, beads.cc.getMaxThreadBlockSize() / 32 * 32);
    }
};

void append(std::vector<double>& values, const AlignedBuffer<double>& more, std::size_t count) {
    values.insert(values.end(), more.data(), more.data() + count);
}

void append(std::vector<double>& values, const Plan::Linear& linear, std::size_t outputs) {
    appendRows(values, linear.weight);
    appendColumns(values, linear.weight);
    append(values, linear.bias, outputs);
}

/** All that depends on neither positions nor replicas, as graph.cc lays it out. */
std::vector<double> constantsOf(const Plan& plan) {
    const std::size_t n = static_cast<std::size_t>(plan.beads), width = static_cast<std::size_t>(plan.width);
    const std::size_t heads = static_cast<std::size_t>(plan.heads), map = width * Plan::edge;
    std::vector<double> values;
    append(values, plan.nodes, n * width);
    append(values, plan.firstAttention, n * 3 * width);
    append(values, plan.firstEdgeQueries, n * heads * Plan::edge);
    append(values, plan.firstLogits, n * heads * n);
    values.insert(values.end(), plan.centres.begin(), plan.centres.end());
    append(values, plan.last, width);
    append(values, plan.out, width);
    for (const Plan::Layer& layer : plan.layers) {
        if (&layer == &plan.layers.front()) {  // which needs neither
            values.resize(values.size() + 6 * width * width + 3 * width + 2 * map);
        } else {
            append(values, layer.attention, 3 * width);
            append(values, layer.query.toEdge, map);
            append(values, layer.query.fromEdge, map);
        }
        append(values, layer.value.toEdge, map);
        append(values, layer.value.fromEdge, map);
        append(values, layer.out, width);
        append(values, layer.up, 2 * width);
        append(values, layer.down, width);
    }
    return values;
}

/** The two classes of every edge, bead by bead. */
std::vector<int> classesOf(const Plan& plan) {
    std::vector<int> classes;
    for (std::size_t edge = 0; edge < static_cast<std::size_t>(plan.beads) * static_cast<std::size_t>(plan.beads); ++edge)
        for (int k = 0; k < Plan::classes; ++k)
            if (plan.classColumns.data()[edge * Plan::classes + static_cast<std::size_t>(k)] != 0.0)
                classes.push_back(k);
    return classes;
}

}  // namespace

std::unique_ptr<DeviceTerm> graphTerm(const DeviceBeads& beads, const Plan& plan) {
    const GraphForm form(beads, plan);
    auto term = std::make_unique<DeviceTerm>(beads);
    const int layers = static_cast<int>(plan.layers.size());
    term->define("FUSED", form.fused ? 1 : 0);
    term->define("SLOTS", form.slots);
    term->define("WIDTH", plan.width);
    term->define("HEAD_WIDTH", plan.headWidth);
    term->define("LAYERS", layers);
    term->define("ROWS_AT_ONCE", GraphForm::rowsAtOnce);
    term->define("SQUARED_LENGTH", plan.squaredLength);
    term->define("AXIS_LENGTH", plan.axisLength);
    term->define("AXIS_AREA", plan.axisArea);
    term->define("RADIAL_FACTOR", plan.radialFactor);
    term->define("NORM_EPSILON", 1e-5);

    std::vector<int> frameStart, framesOf;  // of every bead, the frames that it is a corner of: whose, and which corner
    for (int bead = 0; bead < beads.beads; ++bead) {
        frameStart.push_back(static_cast<int>(framesOf.size()) / 2);
        for (int i = 0; i < 3 * beads.beads; ++i)
            if (plan.frames[static_cast<std::size_t>(i)] == bead)
                framesOf.insert(framesOf.end(), {i / 3, i % 3});
    }
    frameStart.push_back(static_cast<int>(framesOf.size()) / 2);
    std::vector<double> distances;
    for (std::size_t pair = 0; pair < static_cast<std::size_t>(beads.beads) * static_cast<std::size_t>(beads.beads); ++pair)
        distances.insert(distances.end(), {plan.distanceMeans.data()[pair], plan.distanceFactors.data()[pair]});
    term->addIndices(plan.frames);
    term->addIndices(frameStart);
    term->addIndices(framesOf);
    term->addIndices(classesOf(plan));
    term->addGeometry(distances);
    term->addNetwork(constantsOf(plan));
    const std::size_t rows = static_cast<std::size_t>(form.slots) * static_cast<std::size_t>(beads.beads);
    term->addGeometryScratch(rows * form.geometryRow);
    term->addScratch(rows * form.row);

    term->compile(KernelText::graph_layout + KernelText::graph_forward + KernelText::graph_backward + KernelText::graph, form.threads, 1);
    if (form.fused) {
        term->addLaunch("fpforceGraph", form.slots);
    } else {
        const int groups = static_cast<int>((rows * static_cast<std::size_t>(plan.width) - 1) / static_cast<std::size_t>(form.threads)) + 1;
        const GraphSteps steps(layers);
        for (int step = 0; step < steps.count(); ++step) {
            if (step == steps.energy())
                term->addLaunch("fpforceGraphHead", groups);
            else if (!steps.isEmpty(step))
                term->addLaunch("fpforceGraphStep", groups, step, step > steps.energy());
        }
    }
    term->leaveOut(beads.kT * plan.constant);
    return term;
}

}  // namespace FPForcePlugin
