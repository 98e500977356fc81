#include <algorithm>

#include "DeviceTerm.h"
#include "KernelText.h"

namespace FPForcePlugin {

namespace {

/** For every bead, one entry for each pair that it is in: the other bead, and which pair that is. */
struct PairsOfBeads {
    std::vector<int> start, other, pair;

    template <class Pair>
    PairsOfBeads(int beads, const std::vector<Pair>& pairs) {
        for (int bead = 0; bead < beads; ++bead) {
            start.push_back(static_cast<int>(other.size()));
            for (std::size_t p = 0; p < pairs.size(); ++p)
                if (pairs[p].first == bead || pairs[p].second == bead) {
                    other.push_back(pairs[p].first == bead ? pairs[p].second : pairs[p].first);
                    pair.push_back(static_cast<int>(p));
                }
        }
        start.push_back(static_cast<int>(other.size()));
    }
};

/** How the work is shared; see kernels/prior.cc. */
struct PriorForm {
    int threads, lanes, replicasAtOnce, coupled;  // the last: pairs, where they are

    std::size_t bytes(const DeviceBeads& beads) const {
        return static_cast<std::size_t>(beads.geometryBytes()) *
               (static_cast<std::size_t>(replicasAtOnce) * (3 * beads.beads * (2 + lanes) + 3 + 2 * std::max(coupled, 1)) + threads);
    }
    PriorForm(const DeviceBeads& beads, const PriorPlan& plan) {
        coupled = plan.couplings.empty() ? 0 : static_cast<int>(plan.pairs.size());
        lanes = beads.beads < 8 ? 4 : 8;
        // Of small molecules several share a group, so that its threads have work.
        replicasAtOnce = std::clamp(64 / (beads.beads * lanes), 1, beads.replicas);
        threads = std::clamp((beads.beads * lanes * replicasAtOnce + 31) / 32 * 32, 32, 256);
        threads = std::min(threads, beads.cc.getMaxThreadBlockSize());
        while (lanes > 1 && bytes(beads) > localMemoryBytes)
            lanes /= 2;
        if (bytes(beads) > localMemoryBytes)
            throw DeviceUnsuitable("the prior of " + std::to_string(beads.beads) + " beads takes " + std::to_string(bytes(beads)) +
                                   " bytes of local memory, of " + std::to_string(localMemoryBytes));
    }
};

}  // namespace

std::unique_ptr<DeviceTerm> priorTerm(const DeviceBeads& beads, const PriorPlan& plan) {
    const PriorForm form(beads, plan);
    auto term = std::make_unique<DeviceTerm>(beads);
    term->define("LANES", form.lanes);
    term->define("HAS_QUADRATIC", plan.quadratic.empty() ? 0 : 1);
    term->define("COUPLED", form.coupled);
    term->define("WALL_HEIGHT", plan.wallHeight);
    const PairsOfBeads pairs(beads.beads, plan.pairs), walls(beads.beads, plan.walls);
    std::vector<double> constants, distances, middles;
    std::vector<int> ends;
    for (const PriorPlan::Pair& pair : plan.pairs) {
        ends.insert(ends.end(), {pair.first, pair.second});
        middles.push_back(pair.a);
    }
    for (const int p : pairs.pair) {
        const PriorPlan::Pair& pair = plan.pairs[static_cast<std::size_t>(p)];
        constants.insert(constants.end(), {pair.a, pair.inverseVariance, pair.rate});
    }
    for (const int p : walls.pair)
        distances.push_back(plan.walls[static_cast<std::size_t>(p)].distance);
    term->addGeometry(plan.quadratic);
    term->addIndices(pairs.start);
    term->addIndices(pairs.other);
    term->addGeometry(constants);
    term->addIndices(pairs.pair);
    term->addIndices(ends);
    term->addGeometry(middles);
    term->addGeometry(plan.couplings);
    term->addIndices(walls.start);
    term->addIndices(walls.other);
    term->addGeometry(distances);
    term->compile(KernelText::prior, form.threads, form.replicasAtOnce);
    term->addLaunch("fpforcePrior", (beads.replicas + form.replicasAtOnce - 1) / form.replicasAtOnce);
    term->leaveOut(beads.kT * plan.constant);
    return term;
}

}  // namespace FPForcePlugin
