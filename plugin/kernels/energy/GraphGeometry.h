#ifndef FPFORCE_ENERGY_GRAPH_GEOMETRY_H_
#define FPFORCE_ENERGY_GRAPH_GEOMETRY_H_

/**
 * The geometric edge features of one molecule and their way back to positions; beads j in the lanes.
 *
 * Of an edge from bead i to bead j, with u = x_j - x_i: radial functions of the distance, the distance itself, the direction
 * along the local axes of i and of j, and the axes of i along those of j (training/models/graph_transformer.py).
 */

#include "../simd/MatrixProduct.h"
#include "../simd/Replicas.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/**
 * One molecule's beads: centred normalised positions and local axes, component by component, beads side by side. Positions are
 * float64, since the distance of a stiff bond less its mean keeps few digits otherwise.
 */
template <class Real>
struct GraphPoints {
    double* x;                      // 3 x pairRow
    Real* axes;                     // 9 x pairRow (axis a, component c at row 3 a + c)
    Real *gradient, *axesGradient;  // the energy's slopes along them
};

/** The vectors that define the local axes of one bead, with the squared lengths that smooth them. */
struct GraphAxes {
    double sum[3], difference[3], normal[3], first[3], second[3];
    double sumNorm, differenceNorm, normalNorm;  // 1 / smoothed length

    template <class Plan>
    GraphAxes(const Plan& plan, const double* x, const int* frame) {
        const int row = plan.pairRow;
        for (int c = 0; c < 3; ++c) {
            const double middle = x[c * row + frame[1]];
            first[c] = middle - x[c * row + frame[0]];
            second[c] = x[c * row + frame[2]] - middle;
            sum[c] = first[c] + second[c];
            difference[c] = second[c] - first[c];
        }
        cross(first, second, normal);
        sumNorm = 1.0 / __builtin_sqrt(square(sum) + plan.axisLength);
        differenceNorm = 1.0 / __builtin_sqrt(square(difference) + plan.axisLength);
        normalNorm = 1.0 / __builtin_sqrt(square(normal) + plan.axisArea);
    }
    static void cross(const double* a, const double* b, double* result) {
        for (int c = 0; c < 3; ++c)
            result[c] = a[(c + 1) % 3] * b[(c + 2) % 3] - a[(c + 2) % 3] * b[(c + 1) % 3];
    }
    static double dot(const double* a, const double* b) {
        return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    }
    static double square(const double* a) {
        return dot(a, a);
    }
    /** The slope along v, given the slope along v / smoothed length. */
    static void through(const double* v, double norm, const double* slope, double* result) {
        const double along = dot(v, slope) * norm * norm * norm;
        for (int c = 0; c < 3; ++c)
            result[c] = slope[c] * norm - along * v[c];
    }
};

/** Positions to lanes, and the local axes. */
template <class Real>
inline void graphPoints(const GraphTransformerPlan<Real>& plan, const Batch& batch, int replica, const GraphPoints<Real>& points) {
    const int n = plan.beads, row = plan.pairRow;
    const double* r = batch.positions + static_cast<std::ptrdiff_t>(replica) * n * 3;
    for (int c = 0; c < 3; ++c) {
        double centre = 0.0;
        for (int i = 0; i < n; ++i)
            centre += r[3 * i + c];
        centre /= n;
        for (int i = 0; i < row; ++i)
            points.x[c * row + i] = i < n ? (r[3 * i + c] - centre) * batch.inverseLength : 0.0;
    }
    for (int i = 0; i < 9 * row; ++i)
        points.axes[i] = 0;
    for (int i = 0; i < n; ++i) {
        const GraphAxes axes(plan, points.x, plan.frames.data() + 3 * i);
        for (int c = 0; c < 3; ++c) {
            points.axes[c * row + i] = static_cast<Real>(axes.sum[c] * axes.sumNorm);
            points.axes[(3 + c) * row + i] = static_cast<Real>(axes.difference[c] * axes.differenceNorm);
            points.axes[(6 + c) * row + i] = static_cast<Real>(axes.normal[c] * axes.normalNorm);
        }
    }
}

/** What features and their slopes share, for the edges from bead i to the beads in the lanes. */
template <class Real>
struct GraphEdges {
    typedef Simd<Real> S;
    typedef typename S::V V;
    typedef Simd<double, 8 * S::lanes> Wide;
    Vec<V> u, direction, own[3], other[3];
    V distance, deviation, factor, inverseLength;

    GraphEdges(const GraphTransformerPlan<Real>& plan, const GraphPoints<Real>& points, int i, int j) {
        const int row = plan.pairRow;
        const double* x = points.x;
        typename Wide::V difference[3], wide = Wide::all(plan.squaredLength);
        for (int c = 0; c < 3; ++c) {
            difference[c] = Wide::load(x + c * row + j) - x[c * row + i];
            wide += difference[c] * difference[c];
        }
        wide = Wide::sqrt(wide);
        const std::ptrdiff_t pair = static_cast<std::ptrdiff_t>(i) * row + j;
        const typename Wide::V scale = Wide::load(plan.distanceFactors.data() + pair);
        deviation = narrow((wide - Wide::load(plan.distanceMeans.data() + pair)) * scale);
        factor = narrow(scale);
        distance = narrow(wide);
        u = {narrow(difference[0]), narrow(difference[1]), narrow(difference[2])};
        inverseLength = 1 / S::sqrt(dot(u, u) + static_cast<Real>(plan.axisLength));
        direction = inverseLength * u;
        for (int a = 0; a < 3; ++a) {
            const Real* axis = points.axes + 3 * a * row;
            own[a] = {S::all(axis[i]), S::all(axis[row + i]), S::all(axis[2 * row + i])};
            other[a] = {S::load(axis + j), S::load(axis + row + j), S::load(axis + 2 * row + j)};
        }
    }

private:
    static V narrow(const typename Wide::V& wide) {
        return __builtin_convertvector(wide, V);
    }
};

/** Features of the edges of bead i: `rows` (features x pairRow), and `columns`, its transpose (beads x features). */
template <class Real>
inline void graphFeatures(const GraphTransformerPlan<Real>& plan, const GraphPoints<Real>& points, int i, Real* rows, Real* columns) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    constexpr int radial = GraphTransformerPlan<Real>::radial, geometric = GraphTransformerPlan<Real>::geometric;
    const int row = plan.pairRow;
    for (int j = 0; j < plan.beads; j += S::lanes) {
        const GraphEdges<Real> edge(plan, points, i, j);
        Real* to = rows + j;
        for (int k = 0; k < radial; ++k) {
            const V away = edge.distance - plan.centres[static_cast<std::size_t>(k)];
            S::store(to + k * row, S::exp(plan.radialFactor * away * away));
        }
        S::store(to + radial * row, edge.deviation);
        for (int a = 0; a < 3; ++a) {
            S::store(to + (radial + 1 + a) * row, dot(edge.direction, edge.own[a]));
            S::store(to + (radial + 4 + a) * row, dot(edge.direction, edge.other[a]));
            for (int b = 0; b < 3; ++b)
                S::store(to + (radial + 7 + 3 * a + b) * row, dot(edge.own[a], edge.other[b]));
        }
    }
    for (int j = 0; j < plan.beads; ++j)
        for (int k = 0; k < geometric; ++k)
            columns[j * geometric + k] = rows[k * row + j];
}

/** Adds to the slopes along positions and axes, given those along the features of bead i's edges (features x pairRow). */
template <class Real>
inline void graphFeaturesBackward(const GraphTransformerPlan<Real>& plan, const GraphPoints<Real>& points, int i, const Real* rows,
                                  const Real* slopes) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    constexpr int radial = GraphTransformerPlan<Real>::radial;
    const int row = plan.pairRow;
    Vec<V> ownGradient[3] = {}, ownPull = {};
    for (int j = 0; j < plan.beads; j += S::lanes) {
        const GraphEdges<Real> edge(plan, points, i, j);
        const auto slope = [&](int k) { return S::load(slopes + k * row + j); };
        V alongDistance = {};
        for (int k = 0; k < radial; ++k)
            alongDistance += slope(k) * S::load(rows + k * row + j) * (edge.distance - plan.centres[static_cast<std::size_t>(k)]);
        alongDistance = 2 * plan.radialFactor * alongDistance + edge.factor * slope(radial);
        Vec<V> alongDirection = {};
        Vec<V> otherGradient[3];
        for (int a = 0; a < 3; ++a) {
            alongDirection += slope(radial + 1 + a) * edge.own[a] + slope(radial + 4 + a) * edge.other[a];
            ownGradient[a] += slope(radial + 1 + a) * edge.direction;
            otherGradient[a] = slope(radial + 4 + a) * edge.direction;
        }
        for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) {
                const V both = slope(radial + 7 + 3 * a + b);
                ownGradient[a] += both * edge.other[b];
                otherGradient[b] += both * edge.own[a];
            }
        const V along = dot(alongDirection, edge.direction);
        const Vec<V> pull = edge.inverseLength * (alongDirection - along * edge.direction) + (alongDistance / edge.distance) * edge.u;
        ownPull += pull;
        const auto add = [&](Real* to, V value) { S::store(to + j, S::load(to + j) + value); };
        add(points.gradient, pull.x);
        add(points.gradient + row, pull.y);
        add(points.gradient + 2 * row, pull.z);
        for (int b = 0; b < 3; ++b) {
            add(points.axesGradient + 3 * b * row, otherGradient[b].x);
            add(points.axesGradient + (3 * b + 1) * row, otherGradient[b].y);
            add(points.axesGradient + (3 * b + 2) * row, otherGradient[b].z);
        }
    }
    points.gradient[i] -= S::sum(ownPull.x);
    points.gradient[row + i] -= S::sum(ownPull.y);
    points.gradient[2 * row + i] -= S::sum(ownPull.z);
    for (int a = 0; a < 3; ++a) {
        points.axesGradient[3 * a * row + i] += S::sum(ownGradient[a].x);
        points.axesGradient[(3 * a + 1) * row + i] += S::sum(ownGradient[a].y);
        points.axesGradient[(3 * a + 2) * row + i] += S::sum(ownGradient[a].z);
    }
}

/** The slopes along the axes on to the positions, and all of it to the forces. */
template <class Real>
inline void graphForces(const GraphTransformerPlan<Real>& plan, const Batch& batch, int replica, const GraphPoints<Real>& points) {
    const int n = plan.beads, row = plan.pairRow;
    for (int i = 0; i < n; ++i) {
        const int* frame = plan.frames.data() + 3 * i;
        const GraphAxes axes(plan, points.x, frame);
        double slope[3][3], toSum[3], toDifference[3], toNormal[3], toFirst[3], toSecond[3];
        for (int a = 0; a < 3; ++a)
            for (int c = 0; c < 3; ++c)
                slope[a][c] = points.axesGradient[(3 * a + c) * row + i];
        GraphAxes::through(axes.sum, axes.sumNorm, slope[0], toSum);
        GraphAxes::through(axes.difference, axes.differenceNorm, slope[1], toDifference);
        GraphAxes::through(axes.normal, axes.normalNorm, slope[2], toNormal);
        GraphAxes::cross(axes.second, toNormal, toFirst);
        GraphAxes::cross(toNormal, axes.first, toSecond);
        for (int c = 0; c < 3; ++c) {
            const double first = toSum[c] - toDifference[c] + toFirst[c], second = toSum[c] + toDifference[c] + toSecond[c];
            points.gradient[c * row + frame[0]] -= static_cast<Real>(first);
            points.gradient[c * row + frame[1]] += static_cast<Real>(first - second);
            points.gradient[c * row + frame[2]] += static_cast<Real>(second);
        }
    }
    const double factor = -batch.scale * batch.kT * batch.inverseLength;
    double* f = batch.forces + static_cast<std::ptrdiff_t>(replica) * n * 3;
    for (int c = 0; c < 3; ++c)
        for (int i = 0; i < n; ++i)
            f[3 * i + c] += factor * points.gradient[c * row + i];
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
