#ifndef FPFORCE_ENERGY_GRAPH_ATTENTION_H_
#define FPFORCE_ENERGY_GRAPH_ATTENTION_H_

/**
 * Edge-linear attention and its reverse pass, for one layer. With phi_ij the features of an edge, of every head:
 *
 *     g_i = A^T q_i,  logit_ij = q_i . k_j + g_i . phi_ij,  a_ij = softmax_j,  S_i = sum_j a_ij phi_ij,
 *     o_i = sum_j a_ij v_j + B S_i
 *
 * and backwards, from the slopes along o:
 *
 *     dS_i = B^T do_i,  da_ij = do_i . v_j + dS_i . phi_ij,  dlogit_ij = a_ij (da_ij - sum_j a_ij da_ij),
 *     dg_i = sum_j dlogit_ij phi_ij,  dq_i = sum_j dlogit_ij k_j + A dg_i,  dk_j = sum_i dlogit_ij q_i,
 *     dv_j = sum_i a_ij do_i,  dphi_ij = sum over heads of dlogit_ij g_i + a_ij dS_i
 */

#include "../simd/MatrixProduct.h"
#include "../simd/Replicas.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/** What the forward pass leaves for the reverse pass; in the first layer, whose inputs are constant, only the weights. */
template <class Real>
struct AttentionMemory {
    Real *projected = nullptr;    // queries, keys, values: rows x projectedRow
    Real *edgeQueries = nullptr;  // g: rows x heads x edge
    Real *weights = nullptr;      // a: rows x heads x pairRow

    AttentionMemory() = default;
    AttentionMemory(const GraphTransformerPlan<Real>& plan, std::size_t rows, bool first, Arena& arena) {
        const std::size_t heads = static_cast<std::size_t>(plan.heads);
        weights = arena.take<Real>(rows * heads * static_cast<std::size_t>(plan.pairRow));
        if (first)
            return;
        projected = arena.take<Real>(rows * static_cast<std::size_t>(plan.projectedRow));
        edgeQueries = arena.take<Real>(rows * heads * GraphTransformerPlan<Real>::edge);
    }
};

/** Memory that is free again after a layer. */
template <class Real>
struct AttentionScratch {
    Real *heads;       // o, and backwards the slopes along it: rows x headsRow
    Real *edges;       // S, dS: rows x heads x edge
    Real *queryEdges;  // dg: rows x heads x edge
    Real *transposed;  // keys or values of one molecule: headsWidth x pairRow
    Real *slopes;      // da, dlogit: rows x heads x pairRow
    Real *projected;   // slopes along queries, keys, values: rows x projectedRow

    AttentionScratch() = default;
    AttentionScratch(const GraphTransformerPlan<Real>& plan, std::size_t rows, Arena& arena) {
        const std::size_t heads_ = static_cast<std::size_t>(plan.heads), headsRow = static_cast<std::size_t>(plan.headsRow);
        const std::size_t pairRow = static_cast<std::size_t>(plan.pairRow);
        constexpr std::size_t edge = GraphTransformerPlan<Real>::edge;
        heads = arena.take<Real>(rows * headsRow);
        edges = arena.take<Real>(rows * heads_ * edge);
        queryEdges = arena.take<Real>(rows * heads_ * edge);
        transposed = arena.take<Real>(static_cast<std::size_t>(plan.headsWidth) * pairRow);
        slopes = arena.take<Real>(rows * heads_ * pairRow);
        projected = arena.take<Real>(rows * static_cast<std::size_t>(plan.projectedRow));
    }
};

/** Strides and offsets of one molecule's attention, and the products that both passes are made of. */
template <class Real>
struct Attention {
    typedef Simd<Real> S;
    typedef typename S::V V;
    typedef GraphTransformerPlan<Real> Plan;
    static constexpr int geometric = Plan::geometric, classes = Plan::classes, edge = Plan::edge;
    const Plan& plan;
    int n, heads, pairRow, headRow;
    const Real *features, *columns;  // of this molecule: per bead, geometric x pairRow and beads x geometric

    Attention(const Plan& p, const Real* allFeatures, const Real* allColumns, int replica)
        : plan(p), n(p.beads), heads(p.heads), pairRow(p.pairRow), headRow(p.headRow),
          features(allFeatures + static_cast<std::ptrdiff_t>(replica) * n * geometric * pairRow),
          columns(allColumns + static_cast<std::ptrdiff_t>(replica) * n * geometric * n) {}

    /** heads x pairRow += (heads x edge) times the features of bead i's edges; without classes if they are counted already. */
    void addAlongBeads(int i, const Real* perEdge, bool withClasses, Real* result) const {
        product<Into::Add>(heads, Left<Real>{perEdge, edge}, rowMajor(features + static_cast<std::ptrdiff_t>(i) * geometric * pairRow, pairRow, geometric, n),
                           static_cast<const Real*>(nullptr), result, pairRow);
        if (withClasses)
            product<Into::Add>(heads, Left<Real>{perEdge + geometric, edge},
                               rowMajor(plan.classRows.data() + static_cast<std::ptrdiff_t>(i) * classes * pairRow, pairRow, classes, n),
                               static_cast<const Real*>(nullptr), result, pairRow);
    }
    /** heads x edge = (heads x beads) times the transposed features of bead i's edges. */
    void sumOverBeads(int i, const Real* perBead, Real* result) const {
        product(heads, Left<Real>{perBead, pairRow}, rowMajor(columns + static_cast<std::ptrdiff_t>(i) * n * geometric, geometric, n, geometric),
                static_cast<const Real*>(nullptr), result, edge);
        product(heads, Left<Real>{perBead, pairRow}, rowMajor(plan.classColumns.data() + static_cast<std::ptrdiff_t>(i) * n * classes, classes, n, classes),
                static_cast<const Real*>(nullptr), result + geometric, edge);
    }
    /** (headsWidth x pairRow), the transpose of one of queries, keys and values. */
    void transpose(const Real* source, Real* result) const {
        for (int j = 0; j < n; ++j)
            for (int d = 0; d < plan.headsWidth; ++d)
                result[d * pairRow + j] = source[static_cast<std::ptrdiff_t>(j) * plan.projectedRow + d];
    }
    /** pairs (beads x heads x pairRow) = left_i . right_j of every head; left has rows of `leftLength`, right is transposed. */
    void allPairs(const Real* left, int leftLength, const Real* right, Real* pairs) const {
        for (int h = 0; h < heads; ++h)
            product(n, Left<Real>{left + h * headRow, leftLength}, rowMajor(right + h * headRow * pairRow, pairRow, plan.headWidth, n),
                    static_cast<const Real*>(nullptr), pairs + h * pairRow, heads * pairRow);
    }
    /** result (beads x headRow of every head, row length given) = sum over j of pairs_ij values_j, or with pairs transposed. */
    void sumPairs(const Real* pairs, bool transposed, const Real* values, int valueLength, Real* result, int resultLength) const {
        const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(heads) * pairRow;
        for (int h = 0; h < heads; ++h) {
            const Left<Real> left = transposed ? Left<Real>{pairs + h * pairRow, 1, row} : Left<Real>{pairs + h * pairRow, row, 1};
            product(n, left, rowMajor(values + h * headRow, valueLength, n, plan.headWidth), static_cast<const Real*>(nullptr),
                    result + h * headRow, resultLength);
        }
    }
    /** Softmax over the beads of one row; 0 in the padding. */
    void softmax(Real* row) const {
        V largest = S::all(row[0]);
        for (int j = 0; j < pairRow; j += S::lanes) {
            const V logits = inside(j, S::load(row + j), S::all(row[0]));
            S::store(row + j, logits);
            largest = S::select(logits > largest, logits, largest);
        }
        Real top = largest[0];
        for (int lane = 1; lane < S::lanes; ++lane)
            top = largest[lane] > top ? largest[lane] : top;
        V total = {};
        for (int j = 0; j < pairRow; j += S::lanes) {
            const V weight = inside(j, S::exp(S::load(row + j) - top), V{});
            S::store(row + j, weight);
            total += weight;
        }
        const Real factor = Real(1) / S::sum(total);
        for (int j = 0; j < pairRow; j += S::lanes)
            S::store(row + j, S::load(row + j) * factor);
    }
    /** Slopes along the logits of one row from those along the weights; 0 in the padding. */
    void softmaxBackward(const Real* weights, Real* row) const {
        V sum = {};
        for (int j = 0; j < pairRow; j += S::lanes) {
            const V slope = inside(j, S::load(row + j), V{});
            S::store(row + j, slope);
            sum += S::load(weights + j) * slope;
        }
        const Real mean = S::sum(sum);
        for (int j = 0; j < pairRow; j += S::lanes)
            S::store(row + j, S::load(weights + j) * (S::load(row + j) - mean));
    }

private:
    /** `value` in the lanes of beads, `other` in the padding. */
    V inside(int j, V value, V other) const {
        if (j + S::lanes > n)
            for (int lane = n > j ? n - j : 0; lane < S::lanes; ++lane)
                value[lane] = other[lane];
        return value;
    }
};

/** A per-head linear map of rows: result (rows x heads x outLength) = or += input (rows x heads x inLength) matrix_h. */
template <Into into, class Real>
inline void mapHeads(int rows, int heads, const Real* input, int inLength, std::ptrdiff_t inRow, int depth, const Real* matrices, int columns,
                     int columnsRow, int matrixRows, Real* result, int outLength, std::ptrdiff_t outRow) {
    for (int h = 0; h < heads; ++h)
        product<into>(rows, Left<Real>{input + h * inLength, inRow},
                      rowMajor(matrices + static_cast<std::ptrdiff_t>(h) * matrixRows * columnsRow, columnsRow, depth, columns),
                      static_cast<const Real*>(nullptr), result + h * outLength, outRow);
}

/** Leaves the heads' outputs in scratch.heads; expects queries, keys and values in memory.projected, but in the first layer. */
template <class Real>
inline void attend(const GraphTransformerPlan<Real>& plan, const typename GraphTransformerPlan<Real>::Layer& layer, bool first, int replicas,
                   const Real* features, const Real* columns, const AttentionMemory<Real>& memory, const AttentionScratch<Real>& scratch) {
    constexpr int edge = GraphTransformerPlan<Real>::edge;
    const int n = plan.beads, rows = replicas * n, projectedRow = plan.projectedRow;
    const std::ptrdiff_t pairs = static_cast<std::ptrdiff_t>(n) * plan.heads * plan.pairRow;
    const std::ptrdiff_t queries = static_cast<std::ptrdiff_t>(n) * plan.heads * edge;
    if (!first)
        mapHeads<Into::Replace>(rows, plan.heads, memory.projected, plan.headRow, projectedRow, plan.headWidth, layer.query.toEdge.data(), edge, edge,
                                plan.headWidth, memory.edgeQueries, edge, plan.heads * edge);
    for (int r = 0; r < replicas; ++r) {
        const Attention<Real> attention(plan, features, columns, r);
        Real* weights = memory.weights + r * pairs;
        const Real* projected = first ? plan.firstAttention.data() : memory.projected + static_cast<std::ptrdiff_t>(r) * n * projectedRow;
        const Real* edgeQueries = first ? plan.firstEdgeQueries.data() : memory.edgeQueries + r * queries;
        if (first) {
            std::memcpy(weights, plan.firstLogits.data(), static_cast<std::size_t>(pairs) * sizeof(Real));
        } else {
            attention.transpose(projected + plan.headsWidth, scratch.transposed);
            attention.allPairs(projected, projectedRow, scratch.transposed, weights);
        }
        for (int i = 0; i < n; ++i) {
            Real* row = weights + static_cast<std::ptrdiff_t>(i) * plan.heads * plan.pairRow;
            attention.addAlongBeads(i, edgeQueries + static_cast<std::ptrdiff_t>(i) * plan.heads * edge, !first, row);
            for (int h = 0; h < plan.heads; ++h)
                attention.softmax(row + h * plan.pairRow);
            attention.sumOverBeads(i, row, scratch.edges + r * queries + static_cast<std::ptrdiff_t>(i) * plan.heads * edge);
        }
        attention.sumPairs(weights, false, projected + 2 * plan.headsWidth, projectedRow,
                           scratch.heads + static_cast<std::ptrdiff_t>(r) * n * plan.headsRow, plan.headsRow);
    }
    mapHeads<Into::Add>(rows, plan.heads, scratch.edges, edge, plan.heads * edge, edge, layer.value.fromEdge.data(), plan.headWidth, plan.headRow, edge,
                        scratch.heads, plan.headRow, plan.headsRow);
}

/**
 * From the slopes along the heads' outputs (scratch.heads) to those along queries, keys and values (scratch.projected;
 * not in the first layer, where these are constant), adding to those along the features.
 */
template <class Real>
inline void attendBackward(const GraphTransformerPlan<Real>& plan, const typename GraphTransformerPlan<Real>::Layer& layer, bool first, int replicas,
                           const Real* features, const Real* columns, const AttentionMemory<Real>& memory, const AttentionScratch<Real>& scratch,
                           Real* featureSlopes) {
    constexpr int edge = GraphTransformerPlan<Real>::edge, geometric = GraphTransformerPlan<Real>::geometric;
    const int n = plan.beads, heads = plan.heads, rows = replicas * n, projectedRow = plan.projectedRow;
    const std::ptrdiff_t pairs = static_cast<std::ptrdiff_t>(n) * heads * plan.pairRow;
    const std::ptrdiff_t queries = static_cast<std::ptrdiff_t>(n) * heads * edge;
    mapHeads<Into::Replace>(rows, heads, scratch.heads, plan.headRow, plan.headsRow, plan.headWidth, layer.value.toEdge.data(), edge, edge, plan.headWidth,
                            scratch.edges, edge, heads * edge);
    for (int r = 0; r < replicas; ++r) {
        const Attention<Real> attention(plan, features, columns, r);
        const std::ptrdiff_t node = static_cast<std::ptrdiff_t>(r) * n;
        const Real* weights = memory.weights + r * pairs;
        const Real* projected = first ? plan.firstAttention.data() : memory.projected + node * projectedRow;
        const Real* edgeQueries = first ? plan.firstEdgeQueries.data() : memory.edgeQueries + r * queries;
        const Real* alongEdges = scratch.edges + r * queries;
        const Real* alongHeads = scratch.heads + node * plan.headsRow;
        Real* slopes = scratch.slopes + r * pairs;
        attention.transpose(projected + 2 * plan.headsWidth, scratch.transposed);
        attention.allPairs(alongHeads, plan.headsRow, scratch.transposed, slopes);
        for (int i = 0; i < n; ++i) {
            const std::ptrdiff_t pair = static_cast<std::ptrdiff_t>(i) * heads * plan.pairRow, query = static_cast<std::ptrdiff_t>(i) * heads * edge;
            Real* row = slopes + pair;
            attention.addAlongBeads(i, alongEdges + query, true, row);
            for (int h = 0; h < heads; ++h)
                attention.softmaxBackward(weights + pair + h * plan.pairRow, row + h * plan.pairRow);
            Real* target = featureSlopes + (node + i) * geometric * plan.pairRow;
            product<Into::Add>(geometric, Left<Real>{edgeQueries + query, 1, edge}, rowMajor(row, plan.pairRow, heads, n),
                               static_cast<const Real*>(nullptr), target, plan.pairRow);
            product<Into::Add>(geometric, Left<Real>{alongEdges + query, 1, edge}, rowMajor(weights + pair, plan.pairRow, heads, n),
                               static_cast<const Real*>(nullptr), target, plan.pairRow);
            if (!first)
                attention.sumOverBeads(i, row, scratch.queryEdges + r * queries + query);
        }
        if (first)
            continue;
        Real* alongProjected = scratch.projected + node * projectedRow;
        attention.sumPairs(slopes, false, projected + plan.headsWidth, projectedRow, alongProjected, projectedRow);
        attention.sumPairs(slopes, true, projected, projectedRow, alongProjected + plan.headsWidth, projectedRow);
        attention.sumPairs(weights, true, alongHeads, plan.headsRow, alongProjected + 2 * plan.headsWidth, projectedRow);
    }
    if (!first)
        mapHeads<Into::Add>(rows, heads, scratch.queryEdges, edge, heads * edge, edge, layer.query.fromEdge.data(), plan.headWidth, plan.headRow, edge,
                            scratch.projected, plan.headRow, projectedRow);
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
