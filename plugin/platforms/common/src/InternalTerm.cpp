#include <algorithm>

#include "DeviceTerm.h"
#include "KernelText.h"

namespace FPForcePlugin {

namespace {

/**
 * How the work is shared; see kernels/internal.cc.
 *
 * One replica a group, with many threads that share the sums, keeps the time of one evaluation short. With many replicas, that each
 * group reads all weights would take longest, so that several share a group and a reading. The numbers are estimates from
 * instruction counts and cache bandwidth of large GPUs; they are yet to be measured on one.
 */
struct InternalForm {
    int columns, slices, replicasAtOnce;
    bool featuresAreLocal = true, windowsAreLocal = false;

    int threads() const {
        return columns * slices;
    }
    /** What the stretches of a replica have in numbers: inputs, two layers' values, and the slopes of all. */
    static std::size_t windowNumbers(const InternalPlan<double>& plan) {
        return static_cast<std::size_t>(plan.windows.count) *
               (static_cast<std::size_t>(plan.windows.inputs) + static_cast<std::size_t>(plan.windows.width) * (2 + plan.layers.size()));
    }
    std::size_t bytes(const DeviceBeads& beads, const InternalPlan<double>& plan) const {
        const std::size_t n = static_cast<std::size_t>(beads.beads), width = static_cast<std::size_t>(plan.width);
        const std::size_t geometry = 3 * n * 2 + 3 + (plan.volumes.empty() ? 0 : 4 * n);
        const std::size_t network = (featuresAreLocal ? static_cast<std::size_t>(plan.features()) : 0) +
                                    (windowsAreLocal ? windowNumbers(plan) : 0) + width * (2 + plan.layers.size()) +
                                    static_cast<std::size_t>(threads()) + 9 * static_cast<std::size_t>(plan.dihedrals);
        return static_cast<std::size_t>(beads.geometryBytes()) *
                   (geometry * static_cast<std::size_t>(replicasAtOnce) + static_cast<std::size_t>(threads())) +
               static_cast<std::size_t>(beads.networkBytes()) * network * static_cast<std::size_t>(replicasAtOnce);
    }
    InternalForm(const DeviceBeads& beads, const InternalPlan<double>& plan) {
        const int most = beads.cc.getMaxThreadBlockSize();
        columns = std::min((plan.width + 31) / 32 * 32, most / 32 * 32);
        replicasAtOnce = beads.replicas < 192 ? 1 : beads.replicas < 384 ? 2 : beads.replicas < 768 ? 4 : 8;
        slices = std::clamp(std::min(replicasAtOnce == 1 ? 512 : 256, most) / columns, 1, 8);
        while (bytes(beads, plan) > localMemoryBytes && replicasAtOnce > 1)
            replicasAtOnce /= 2;
        while (bytes(beads, plan) > localMemoryBytes && slices > 1)
            slices /= 2;
        featuresAreLocal = bytes(beads, plan) <= localMemoryBytes;
        if (bytes(beads, plan) > localMemoryBytes)
            throw DeviceUnsuitable("a network of width " + std::to_string(plan.width) + " for " + std::to_string(beads.beads) +
                                   " beads takes " + std::to_string(bytes(beads, plan)) + " bytes of local memory, of " +
                                   std::to_string(localMemoryBytes));
        windowsAreLocal = true;
        windowsAreLocal = bytes(beads, plan) <= localMemoryBytes;
    }
};

/** The constants of stretches, and their scratch memory in so many groups, for kernels/internal_windows.cc. */
void addWindows(DeviceTerm& term, const InternalPlan<double>& plan, const InternalForm& form, int groups) {
    const auto& windows = plan.windows;
    term.define("WINDOW_INPUTS", windows.inputs);
    term.define("WINDOW_WIDTH", windows.width);
    term.define("WINDOWS_ARE_LOCAL", form.windowsAreLocal ? 1 : 0);
    std::vector<std::vector<int>> cellsOf(static_cast<std::size_t>(plan.features()));
    for (std::size_t cell = 0; cell < windows.feature.size(); ++cell)
        cellsOf[static_cast<std::size_t>(windows.feature[cell])].push_back(static_cast<int>(cell));
    std::vector<int> seenFrom = {0}, seenBy;
    for (const std::vector<int>& own : cellsOf) {
        seenBy.insert(seenBy.end(), own.begin(), own.end());
        seenFrom.push_back(static_cast<int>(seenBy.size()));
    }
    const std::size_t cells = static_cast<std::size_t>(windows.count) * static_cast<std::size_t>(windows.width);
    std::vector<double> forward, backward, biases;
    for (const auto& layer : windows.layers) {
        appendColumns(forward, layer.backward);
        appendColumns(backward, layer.forward);
        biases.insert(biases.end(), layer.bias.data(), layer.bias.data() + cells);
    }
    term.addIndices(windows.feature);
    term.addNetwork(std::vector<double>(windows.factor.data(), windows.factor.data() + windows.feature.size()));
    term.addIndices(seenFrom);
    term.addIndices(seenBy);
    term.addNetwork(forward);
    term.addNetwork(backward);
    term.addNetwork(biases);
    term.addNetwork(std::vector<double>(windows.out.data(), windows.out.data() + cells));
    term.addScratch(form.windowsAreLocal ? 0
                                         : static_cast<std::size_t>(groups) * static_cast<std::size_t>(form.replicasAtOnce) *
                                               InternalForm::windowNumbers(plan));
}

}  // namespace

std::unique_ptr<DeviceTerm> internalTerm(const DeviceBeads& beads, const InternalPlan<double>& plan) {
    const InternalForm form(beads, plan);
    const int n = beads.beads;
    auto term = std::make_unique<DeviceTerm>(beads);
    term->define("PAIRS", static_cast<int>(plan.pairs.size()));
    term->define("DIHEDRALS", plan.dihedrals);
    term->define("VOLUMES", static_cast<int>(plan.volumes.size()));
    term->define("WIDTH", plan.width);
    term->define("LAYERS", static_cast<int>(plan.layers.size()));
    term->define("COLUMNS", form.columns);
    term->define("SLICES", form.slices);
    term->define("FEATURES_ARE_LOCAL", form.featuresAreLocal ? 1 : 0);
    term->define("SQUARED_LENGTH", plan.squaredLength);
    term->define("BLUR", plan.blur);
    term->define("ARM_BLUR", plan.armBlur);

    std::vector<int> pairBeads, pairOf(static_cast<std::size_t>(n) * static_cast<std::size_t>(n));
    std::vector<double> pairConstants;
    for (std::size_t p = 0; p < plan.pairs.size(); ++p) {
        const auto& pair = plan.pairs[p];
        pairBeads.insert(pairBeads.end(), {pair.first, pair.second});
        pairConstants.insert(pairConstants.end(), {pair.mean, pair.inverseWidth});
        pairOf[static_cast<std::size_t>(pair.first * n + pair.second)] = static_cast<int>(p);
        pairOf[static_cast<std::size_t>(pair.second * n + pair.first)] = static_cast<int>(p);
    }
    // A volume's slope along the arm of a corner is the cross product of the arms of the other two, in turn.
    std::vector<int> corners, volumeStart, volumesOf;
    for (const auto& volume : plan.volumes)
        corners.insert(corners.end(), {volume.first, volume.second, volume.third});
    for (int bead = 0; bead < n; ++bead) {
        volumeStart.push_back(static_cast<int>(volumesOf.size()) / 3);
        for (std::size_t i = 0; i < corners.size(); ++i)
            if (corners[i] == bead) {
                const std::size_t first = i / 3 * 3;
                volumesOf.insert(volumesOf.end(), {static_cast<int>(i / 3), corners[first + (i + 1) % 3], corners[first + (i + 2) % 3]});
            }
    }
    volumeStart.push_back(static_cast<int>(volumesOf.size()) / 3);

    // Of each dihedral, then of each pair: even and odd of each order, with zeros up to the most orders; how many it has; and how the
    // distance of a pair becomes an angle.
    std::size_t most = 0;
    for (const auto& own : plan.series)
        most = std::max(most, own.even.size());
    const std::size_t dihedrals = plan.series.empty() ? 0 : static_cast<std::size_t>(plan.dihedrals);
    std::vector<double> series(2 * most * (dihedrals + plan.turnOf.size()), 0.0), turns;
    std::vector<int> ordersOf(dihedrals + plan.turnOf.size(), 0);
    const auto put = [&](std::size_t place, int number) {
        const auto& own = plan.series[static_cast<std::size_t>(number)];
        for (std::size_t order = 0; order < own.even.size(); ++order) {
            series[2 * (place * most + order)] = own.even[order];
            series[2 * (place * most + order) + 1] = own.odd[order];
        }
        ordersOf[place] = static_cast<int>(own.even.size());
    };
    for (std::size_t k = 0; k < dihedrals; ++k)
        put(k, static_cast<int>(k));
    for (std::size_t p = 0; p < plan.turnOf.size(); ++p) {
        const auto& turn = plan.turnOf[p];
        turns.insert(turns.end(), {turn.centre, turn.inverseWidth});
        if (turn.series >= 0)
            put(dihedrals + p, turn.series);
    }
    term->define("ORDERS", static_cast<int>(most));
    term->define("DELTA", plan.delta);

    std::vector<double> forward, backward, biases;
    const std::size_t width = static_cast<std::size_t>(plan.width);
    for (const auto& layer : plan.layers) {
        appendColumns(forward, layer.backward);
        appendColumns(backward, layer.forward);
        biases.insert(biases.end(), layer.bias.data(), layer.bias.data() + width);
    }
    term->addIndices(pairBeads);
    term->addGeometry(pairConstants);
    term->addIndices(pairOf);
    term->addIndices(corners);
    term->addIndices(volumeStart);
    term->addIndices(volumesOf);
    term->addGeometry(series);
    term->addIndices(ordersOf);
    term->addGeometry(turns);
    term->addNetwork(forward);
    term->addNetwork(backward);
    term->addNetwork(biases);
    term->addNetwork(std::vector<double>(plan.out.data(), plan.out.data() + width));
    const int groups = std::min((beads.replicas + form.replicasAtOnce - 1) / form.replicasAtOnce, beads.cc.getNumThreadBlocks());
    term->addScratch(
        form.featuresAreLocal ? 0 : static_cast<std::size_t>(groups) * static_cast<std::size_t>(plan.features() * form.replicasAtOnce));
    term->define("WINDOWS", plan.windows.count);
    if (plan.windows.count > 0)
        addWindows(*term, plan, form, groups);
    term->compile(KernelText::internal_windows + KernelText::internal, form.threads(), form.replicasAtOnce);
    term->addLaunch("fpforceInternal", (beads.replicas + form.replicasAtOnce - 1) / form.replicasAtOnce);
    term->leaveOut(beads.kT * plan.constant);
    return term;
}

}  // namespace FPForcePlugin
