#ifndef FPFORCE_ENERGY_GRAPH_TRANSFORMER_KERNEL_H_
#define FPFORCE_ENERGY_GRAPH_TRANSFORMER_KERNEL_H_

/**
 * Energy and force of the `graph_transformer` network (GraphTransformerPlan.h). Nodes of all replicas are the rows of the
 * dense layers; attention goes replica by replica. Edges enter by products with their features alone, so nothing of size
 * beads x beads x width is ever formed (docs/native-plugin.md derives the reverse pass).
 */

#include "../simd/TransposedProduct.h"
#include "GraphAttention.h"
#include "GraphGeometry.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

inline float root(float x) {
    return __builtin_sqrtf(x);
}
inline double root(double x) {
    return __builtin_sqrt(x);
}

/** normalised = (h - mean) / sqrt(variance + 1e-5) row by row, with the factor kept for the way back. */
template <class Real>
inline void normalise(const GraphTransformerPlan<Real>& plan, int rows, const Real* h, Real* normalised, Real* factors) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    const int length = plan.rowLength, padding = length - plan.width;
    for (int r = 0; r < rows; ++r, h += length, normalised += length) {
        V sum = {};
        for (int j = 0; j < length; j += S::lanes)
            sum += S::load(h + j);
        const Real mean = S::sum(sum) / static_cast<Real>(plan.width);
        V squares = {};
        for (int j = 0; j < length; j += S::lanes) {
            const V away = S::load(h + j) - mean;
            squares += away * away;
        }
        // The padding is zero: each of its elements has added mean^2.
        const Real variance = (S::sum(squares) - static_cast<Real>(padding) * mean * mean) / static_cast<Real>(plan.width);
        const Real factor = Real(1) / root(variance + Real(1e-5));
        factors[r] = factor;
        for (int j = 0; j < length; j += S::lanes)
            S::store(normalised + j, (S::load(h + j) - mean) * factor);
    }
}

/** slopes += the way back through `normalise` of the slopes along its result, which are zero in the padding. */
template <class Real>
inline void normaliseBackward(const GraphTransformerPlan<Real>& plan, int rows, const Real* normalised, const Real* factors,
                              const Real* along, Real* slopes) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    const int length = plan.rowLength;
    for (int r = 0; r < rows; ++r, normalised += length, along += length, slopes += length) {
        V sum = {}, product = {};
        for (int j = 0; j < length; j += S::lanes) {
            sum += S::load(along + j);
            product += S::load(along + j) * S::load(normalised + j);
        }
        const Real mean = S::sum(sum) / static_cast<Real>(plan.width), share = S::sum(product) / static_cast<Real>(plan.width);
        for (int j = 0; j < length; j += S::lanes) {
            const V straight = S::load(along + j) - mean - share * S::load(normalised + j);
            S::store(slopes + j, S::load(slopes + j) + factors[r] * straight);
        }
    }
}

/** The pieces of the workspace for `replicas` molecules. */
template <class Real>
struct GraphWorkspace {
    struct LayerMemory {
        Real *before, *beforeFactors, *between, *betweenFactors, *slopes;
        AttentionMemory<Real> attention;
    };
    static constexpr int mostLayers = 32;
    LayerMemory layers[mostLayers];
    GraphPoints<Real>* points;
    Real *features, *transposed, *featureSlopes;
    Real *h, *slopes, *along, *hidden, *last, *lastFactors;
    AttentionScratch<Real> scratch;
    std::size_t bytes;

    GraphWorkspace(const GraphTransformerPlan<Real>& plan, int replicas, char* block) {
        const std::size_t n = static_cast<std::size_t>(plan.beads), rows = n * static_cast<std::size_t>(replicas);
        const std::size_t row = static_cast<std::size_t>(plan.pairRow), length = static_cast<std::size_t>(plan.rowLength);
        const std::size_t hiddenLength = static_cast<std::size_t>(plan.hiddenLength);
        constexpr std::size_t geometric = GraphTransformerPlan<Real>::geometric;
        Arena arena(block);
        points = arena.take<GraphPoints<Real>>(static_cast<std::size_t>(replicas));
        for (int r = 0; r < replicas; ++r) {
            const GraphPoints<Real> piece = {arena.take<double>(3 * row), arena.take<Real>(9 * row), arena.take<Real>(3 * row),
                                             arena.take<Real>(9 * row)};
            if (block != nullptr)
                points[r] = piece;
        }
        features = arena.take<Real>(rows * geometric * row);
        transposed = arena.take<Real>(rows * n * geometric);
        featureSlopes = arena.take<Real>(rows * geometric * row);
        h = arena.take<Real>(rows * length);
        slopes = arena.take<Real>(rows * length);
        along = arena.take<Real>(rows * length);
        last = arena.take<Real>(rows * length);
        lastFactors = arena.take<Real>(rows);
        hidden = arena.take<Real>(rows * hiddenLength);
        scratch = AttentionScratch<Real>(plan, rows, arena);
        for (std::size_t l = 0; l < plan.layers.size(); ++l) {
            layers[l].before = arena.take<Real>(rows * length);
            layers[l].beforeFactors = arena.take<Real>(rows);
            layers[l].between = arena.take<Real>(rows * length);
            layers[l].betweenFactors = arena.take<Real>(rows);
            layers[l].slopes = arena.take<Real>(rows * hiddenLength);
            layers[l].attention = AttentionMemory<Real>(plan, rows, l == 0, arena);
        }
        bytes = arena.used();
    }
};

template <class Real>
inline std::size_t graphTransformerWorkspace(const GraphTransformerPlan<Real>& plan, int replicas) {
    return GraphWorkspace<Real>(plan, replicas, nullptr).bytes;
}

/** c (rows x out) = a (rows x in) through a linear layer, added to or replacing what c held. */
template <Into into, class Real>
inline void apply(int rows, const Real* a, int rowLength, const typename GraphTransformerPlan<Real>::Linear& linear, Real* c, int resultLength) {
    product<into>(rows, Left<Real>{a, rowLength}, packed(linear.weight.view()), linear.bias.data(), c, resultLength);
}

/** c (rows x in) = the slopes before a linear layer from those after it, a (rows x out). */
template <class Real>
inline void applyBackward(int rows, const Real* a, int rowLength, const typename GraphTransformerPlan<Real>::Linear& linear, Real* c, int resultLength) {
    transposedProduct(rows, a, rowLength, linear.weight.view(), c, resultLength);
}

/** values = silu(values), slopes = its derivative there. */
template <class Real>
inline void activate(std::ptrdiff_t size, Real* values, Real* slopes) {
    typedef Simd<Real> S;
    for (std::ptrdiff_t i = 0; i < size; i += S::lanes) {
        typename S::V slope;
        S::store(values + i, silu<S>(S::load(values + i), slope));
        S::store(slopes + i, slope);
    }
}

template <class Real>
inline void multiply(std::ptrdiff_t size, const Real* factors, Real* values) {
    typedef Simd<Real> S;
    for (std::ptrdiff_t i = 0; i < size; i += S::lanes)
        S::store(values + i, S::load(values + i) * S::load(factors + i));
}

template <class Real>
inline void graphForward(const GraphTransformerPlan<Real>& plan, int replicas, const GraphWorkspace<Real>& work) {
    const int rows = replicas * plan.beads, length = plan.rowLength, wide = plan.hiddenLength;
    const std::size_t nodes = static_cast<std::size_t>(plan.beads) * static_cast<std::size_t>(length);
    for (int r = 0; r < replicas; ++r)
        std::memcpy(work.h + static_cast<std::size_t>(r) * nodes, plan.nodes.data(), nodes * sizeof(Real));
    for (int l = 0, count = static_cast<int>(plan.layers.size()); l < count; ++l) {
        const typename GraphTransformerPlan<Real>::Layer& layer = plan.layers.data()[l];
        const typename GraphWorkspace<Real>::LayerMemory& memory = work.layers[l];
        if (l > 0) {
            normalise(plan, rows, work.h, memory.before, memory.beforeFactors);
            apply<Into::Replace>(rows, memory.before, length, layer.attention, memory.attention.projected, plan.projectedRow);
        }
        attend(plan, layer, l == 0, replicas, work.features, work.transposed, memory.attention, work.scratch);
        apply<Into::Add>(rows, work.scratch.heads, plan.headsRow, layer.out, work.h, length);
        normalise(plan, rows, work.h, memory.between, memory.betweenFactors);
        apply<Into::Replace>(rows, memory.between, length, layer.up, work.hidden, wide);
        activate(static_cast<std::ptrdiff_t>(rows) * wide, work.hidden, memory.slopes);
        apply<Into::Add>(rows, work.hidden, wide, layer.down, work.h, length);
    }
}

/** The head: energies of the replicas, and the slopes along the nodes (overwritten). */
template <class Real>
inline void graphEnergies(const GraphTransformerPlan<Real>& plan, const Batch& batch, const GraphWorkspace<Real>& work) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    const int rows = batch.replicas * plan.beads, length = plan.rowLength;
    normalise(plan, rows, work.h, work.last, work.lastFactors);
    apply<Into::Replace>(rows, work.last, length, plan.last, work.h, length);
    activate(static_cast<std::ptrdiff_t>(rows) * length, work.h, work.along);
    const Real* out = plan.out.data();
    for (int r = 0; r < batch.replicas; ++r) {
        double energy = plan.constant;
        for (int i = r * plan.beads; i < (r + 1) * plan.beads; ++i) {
            V sum = {};
            for (int j = 0; j < length; j += S::lanes) {
                const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(i) * length + j;
                const V weight = S::load(out + j);
                sum += weight * S::load(work.h + at);
                S::store(work.along + at, weight * S::load(work.along + at));
            }
            energy += static_cast<double>(S::sum(sum));
        }
        batch.energies[r] = batch.kT * energy;
    }
    std::memset(work.slopes, 0, static_cast<std::size_t>(rows) * static_cast<std::size_t>(length) * sizeof(Real));
    applyBackward(rows, work.along, length, plan.last, work.h, length);
    normaliseBackward(plan, rows, work.last, work.lastFactors, work.h, work.slopes);
}

/** From the slopes along the last nodes to those along the edges' features. */
template <class Real>
inline void graphBackward(const GraphTransformerPlan<Real>& plan, int replicas, const GraphWorkspace<Real>& work) {
    const int rows = replicas * plan.beads, length = plan.rowLength, wide = plan.hiddenLength;
    std::memset(work.featureSlopes, 0,
                static_cast<std::size_t>(rows) * GraphTransformerPlan<Real>::geometric * static_cast<std::size_t>(plan.pairRow) * sizeof(Real));
    for (int l = static_cast<int>(plan.layers.size()) - 1; l >= 0; --l) {
        const typename GraphTransformerPlan<Real>::Layer& layer = plan.layers.data()[l];
        const typename GraphWorkspace<Real>::LayerMemory& memory = work.layers[l];
        applyBackward(rows, work.slopes, length, layer.down, work.hidden, wide);
        multiply(static_cast<std::ptrdiff_t>(rows) * wide, memory.slopes, work.hidden);
        applyBackward(rows, work.hidden, wide, layer.up, work.along, length);
        normaliseBackward(plan, rows, memory.between, memory.betweenFactors, work.along, work.slopes);
        applyBackward(rows, work.slopes, length, layer.out, work.scratch.heads, plan.headsRow);
        attendBackward(plan, layer, l == 0, replicas, work.features, work.transposed, memory.attention, work.scratch, work.featureSlopes);
        if (l > 0) {
            applyBackward(rows, work.scratch.projected, plan.projectedRow, layer.attention, work.along, length);
            normaliseBackward(plan, rows, memory.before, memory.beforeFactors, work.along, work.slopes);
        }
    }
}

template <class Real>
inline void graphTransformer(const GraphTransformerPlan<Real>& plan, const Batch& batch, char* workspace) {
    const GraphWorkspace<Real> work(plan, batch.replicas, workspace);
    constexpr int geometric = GraphTransformerPlan<Real>::geometric;
    const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(geometric) * plan.pairRow;
    const std::ptrdiff_t transposedSize = static_cast<std::ptrdiff_t>(geometric) * plan.beads;
    for (int r = 0; r < batch.replicas; ++r) {
        graphPoints(plan, batch, r, work.points[r]);
        for (int i = 0; i < plan.beads; ++i) {
            const std::ptrdiff_t node = static_cast<std::ptrdiff_t>(r) * plan.beads + i;
            graphFeatures(plan, work.points[r], i, work.features + node * size, work.transposed + node * transposedSize);
        }
    }
    graphForward(plan, batch.replicas, work);
    graphEnergies(plan, batch, work);
    graphBackward(plan, batch.replicas, work);
    for (int r = 0; r < batch.replicas; ++r) {
        const GraphPoints<Real>& points = work.points[r];
        std::memset(points.gradient, 0, 3 * static_cast<std::size_t>(plan.pairRow) * sizeof(Real));
        std::memset(points.axesGradient, 0, 9 * static_cast<std::size_t>(plan.pairRow) * sizeof(Real));
        for (int i = 0; i < plan.beads; ++i) {
            const std::ptrdiff_t node = static_cast<std::ptrdiff_t>(r) * plan.beads + i;
            graphFeaturesBackward(plan, points, i, work.features + node * size, work.featureSlopes + node * size);
        }
        graphForces(plan, batch, r, points);
    }
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
