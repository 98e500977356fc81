#ifndef FPFORCE_ENERGY_PRIOR_KERNEL_H_
#define FPFORCE_ENERGY_PRIOR_KERNEL_H_

/** Energy and force of the analytic prior and the wall (PriorPlan.h), replicas in the lanes. */

#include "../simd/Replicas.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/**
 * ln(q / (1 - e^-q)) of q >= 0 and its slope 1/q - 1/(e^q - 1). Below 0.5, where these lose digits, the series
 * q/2 - q^2/24 + q^4/2880 - q^6/181440, as in training/models/prior.py.
 */
template <class S>
inline typename S::V logRatio(typename S::V q, typename S::V& slope) {
    typedef typename S::V V;
    const auto isSmall = q < S::all(0.5);
    const V large = S::select(isSmall, S::all(0.5), q);
    const V decay = S::exp(-large);
    const V gap = 1.0 - decay;
    const V s = q * q;
    const V series = 0.5 * q - s * (1.0 / 24.0 - s * (1.0 / 2880.0 - s * (1.0 / 181440.0)));
    const V seriesSlope = 0.5 - q * (1.0 / 12.0 - s * (1.0 / 720.0 - s * (1.0 / 30240.0)));
    slope = S::select(isSmall, seriesSlope, 1.0 / large - decay / gap);
    return S::select(isSmall, series, S::log(large / gap));
}

/** Adds the wall's gradient, and returns its energy. Hardly ever is a pair in any lane within it. */
template <class S>
inline typename S::V addWalls(const PriorPlan& plan, const Vec<typename S::V>* x, Vec<typename S::V>* gradient) {
    typedef typename S::V V;
    V energy = S::all(0.0);
    const PriorPlan::Wall* walls = plan.walls.data();
    for (int p = 0, count = static_cast<int>(plan.walls.size()); p < count; ++p) {
        const PriorPlan::Wall& wall = walls[p];
        const Vec<V> u = x[wall.first] - x[wall.second];
        const V square = dot(u, u);
        const auto within = square < S::all(wall.distance * wall.distance);
        if (!S::any(within))
            continue;
        const V distance = S::sqrt(square + 1e-20);
        const V depth = S::select(within, 1.0 - distance * (1.0 / wall.distance), S::all(0.0));
        energy += plan.wallHeight * depth * depth * depth;
        const Vec<V> along = (-3.0 * plan.wallHeight / wall.distance) * depth * depth / distance * u;
        gradient[wall.first] += along;
        gradient[wall.second] -= along;
    }
    return energy;
}

inline std::size_t priorWorkspace(const PriorPlan& plan) {
    const std::size_t beads = static_cast<std::size_t>(plan.beads), coupled = plan.couplings.empty() ? 0 : plan.pairs.size();
    return (2 * beads + coupled) * sizeof(Vec<Simd<double>::V>) + coupled * sizeof(Simd<double>::V) + 64;
}

/** `S` holds one group of replicas. */
template <class S>
inline void priorGroup(const PriorPlan& plan, const Batch& batch, int start, char* workspace) {
    typedef typename S::V V;
    const int n = plan.beads;
    Vec<V>* x = reinterpret_cast<Vec<V>*>(workspace);
    Vec<V>* gradient = x + n;
    Vec<V>* directions = gradient + n;  // of the pairs, and how far they are stretched, where they are coupled
    V* stretches = reinterpret_cast<V*>(directions + plan.pairs.size());
    const bool coupled = !plan.couplings.empty();
    loadReplicas<S>(batch, start, x);
    V energy = S::all(plan.constant);
    const Vec<V> zero = {S::all(0.0), S::all(0.0), S::all(0.0)};
    for (int i = 0; i < n; ++i)
        gradient[i] = zero;
    for (int i = 0; i < n && !plan.quadratic.empty(); ++i) {
        const double* row = plan.quadratic.data() + static_cast<std::ptrdiff_t>(i) * n;
        Vec<V> sum = S::all(row[0]) * x[0];
        for (int j = 1; j < n; ++j)
            sum += S::all(row[j]) * x[j];
        gradient[i] = sum;
        energy += 0.5 * dot(sum, x[i]);
    }
    const PriorPlan::Pair* pairs = plan.pairs.data();
    for (int p = 0, count = static_cast<int>(plan.pairs.size()); p < count; ++p) {
        const PriorPlan::Pair& pair = pairs[p];
        const Vec<V> u = x[pair.first] - x[pair.second];
        const V distance = S::sqrt(dot(u, u) + 1e-20);
        const V stretch = distance - pair.a;
        V slope;
        const V q = pair.rate * distance;
        energy += 0.5 * pair.inverseVariance * stretch * stretch + logRatio<S>(q, slope);
        const V pull = (pair.inverseVariance * stretch + pair.rate * slope) / distance;
        const Vec<V> along = pull * u;
        gradient[pair.first] += along;
        gradient[pair.second] -= along;
        if (coupled) {
            directions[p] = (1.0 / distance) * u;
            stretches[p] = stretch;
        }
    }
    for (int p = 0, count = static_cast<int>(plan.pairs.size()); coupled && p < count; ++p) {
        const double* row = plan.couplings.data() + static_cast<std::ptrdiff_t>(p) * count;
        V pull = S::all(row[0]) * stretches[0];
        for (int q = 1; q < count; ++q)
            pull += S::all(row[q]) * stretches[q];
        energy += 0.5 * pull * stretches[p];
        const Vec<V> along = pull * directions[p];
        gradient[pairs[p].first] += along;
        gradient[pairs[p].second] -= along;
    }
    energy += addWalls<S>(plan, x, gradient);
    // The quadratic form's rows sum to zero only as well as float32 weights do; the force through the centring does so exactly.
    centre<S>(n, gradient);
    for (int lane = 0; lane < S::lanes && start + lane < batch.replicas; ++lane)
        batch.energies[start + lane] = batch.kT * energy[lane];
    addForces<S>(batch, start, gradient);
}

inline void prior(const PriorPlan& plan, const Batch& batch, char* workspace) {
    if (batch.replicas == 1)
        return priorGroup<Simd<double, 16>>(plan, batch, 0, workspace);
    for (int start = 0; start < batch.replicas; start += Simd<double>::lanes)
        priorGroup<Simd<double>>(plan, batch, start, workspace);
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
