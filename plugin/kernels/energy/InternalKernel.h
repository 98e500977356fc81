#ifndef FPFORCE_ENERGY_INTERNAL_KERNEL_H_
#define FPFORCE_ENERGY_INTERNAL_KERNEL_H_

/**
 * Energy and force of the `internal` network (InternalPlan.h):
 *
 *   1. features of every replica, replicas in the lanes, float64;
 *   2. the layers forward, replicas in the rows of a matrix product, keeping every layer's slope;
 *   3. the layers backward: delta_L = out * slope_L, delta_{l-1} = (delta_l W_l) * slope_{l-1};
 *   4. from features back to positions, replicas in the lanes, float64.
 *
 * Longer than other files, since the features and the way back from them are written beside each other.
 */

#include "../simd/MatrixProduct.h"
#include "../simd/Replicas.h"
#include "DenseLayers.h"
#include "WindowsKernel.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/** One dihedral's bonds, normals and features; `norm` = 1 / sqrt((|m|^2 + blur)(|n|^2 + blur)). */
template <class S>
struct Dihedral {
    typedef typename S::V V;
    Vec<V> before, middle, after, left, right;
    V leftSquare, rightSquare, norm, axis, triple, cosine, sine;

    template <class Plan>
    Dihedral(const Plan& plan, const Vec<V>* x) {
        before = x[1] - x[0];
        middle = x[2] - x[1];
        after = x[3] - x[2];
        left = cross(before, middle);
        right = cross(middle, after);
        leftSquare = dot(left, left) + plan.blur;
        rightSquare = dot(right, right) + plan.blur;
        norm = 1.0 / S::sqrt(leftSquare * rightSquare);
        axis = S::sqrt(dot(middle, middle) + plan.squaredLength);
        triple = dot(before, right);
        cosine = dot(left, right) * norm;
        sine = axis * triple * norm;
    }
    /** Adds to the gradient of the four beads, given the energy's slopes along cosine and sine. */
    void addGradient(V alongCosine, V alongSine, Vec<V>* gradient) const {
        const V product = alongCosine * cosine + alongSine * sine;
        const V scaledTriple = alongSine * axis * norm;
        const V scaledDot = alongCosine * norm;
        const Vec<V> toLeft = scaledDot * right - (product / leftSquare) * left;
        const Vec<V> toRight = scaledDot * left + scaledTriple * before - (product / rightSquare) * right;
        const V alongAxis = alongSine * triple * norm / axis;
        const Vec<V> toBefore = scaledTriple * right + cross(middle, toLeft);
        const Vec<V> toMiddle = cross(toLeft, before) + cross(after, toRight) + alongAxis * middle;
        const Vec<V> toAfter = cross(toRight, middle);
        gradient[0] -= toBefore;
        gradient[1] += toBefore - toMiddle;
        gradient[2] += toMiddle - toAfter;
        gradient[3] += toAfter;
    }
};

/** What a series adds to the energy (kT), and to its slopes along cosine and sine. */
template <class S, class Plan>
inline typename S::V seriesEnergy(const Plan& plan, const typename Plan::Series& own, typename S::V cosine, typename S::V sine,
                                  typename S::V& alongCosine, typename S::V& alongSine) {
    typedef typename S::V V;
    const V norm = 1.0 / S::sqrt(cosine * cosine + sine * sine + plan.delta), c = norm * cosine, s = norm * sine;
    V real = S::all(0.0), imaginary = S::all(0.0);  // of sum_n (even_n - i odd_n) z^n, by Horner's rule, and of its derivative
    V realSlope = S::all(0.0), imaginarySlope = S::all(0.0);
    for (std::size_t n = own.even.size() + 1; n-- > 0;) {
        const V turnedSlope = realSlope * s + imaginarySlope * c, turned = real * s + imaginary * c;
        realSlope = realSlope * c - imaginarySlope * s + real;
        imaginarySlope = turnedSlope + imaginary;
        real = real * c - imaginary * s + (n == 0 ? 0.0 : own.even[n - 1]);
        imaginary = turned - (n == 0 ? 0.0 : own.odd[n - 1]);
    }
    const V outwards = realSlope * c - imaginarySlope * s;
    alongCosine += norm * (realSlope - outwards * c);
    alongSine -= norm * (imaginarySlope + outwards * s);
    return real;
}

/** The beads from their centre, each divided by its smoothed distance from it: what volumes are made of. */
template <class S, class Plan>
inline void findArms(const Plan& plan, const Vec<typename S::V>* x, Vec<typename S::V>* arms) {
    for (int i = 0; i < plan.beads; ++i)
        arms[i] = (1.0 / S::sqrt(dot(x[i], x[i]) + plan.armBlur)) * x[i];
}

/** Adds the gradient of the centred positions, given that along the arms, which is spent. */
template <class S, class Plan>
inline void addArmGradient(const Plan& plan, const Vec<typename S::V>* x, const Vec<typename S::V>* arms, Vec<typename S::V>* alongArms,
                           Vec<typename S::V>* gradient) {
    typedef typename S::V V;
    Vec<V> mean = {};
    for (int i = 0; i < plan.beads; ++i) {
        alongArms[i] = (1.0 / S::sqrt(dot(x[i], x[i]) + plan.armBlur)) * (alongArms[i] - dot(alongArms[i], arms[i]) * arms[i]);
        mean += alongArms[i];
    }
    mean = S::all(1.0 / plan.beads) * mean;
    for (int i = 0; i < plan.beads; ++i)
        gradient[i] += alongArms[i] - mean;
}

/** Writes one feature of the group's replicas into the rows of the feature matrix. */
template <class S, class Real>
inline void scatter(typename S::V value, Real* column, int rowLength, int rows) {
    for (int lane = 0; lane < S::lanes && lane < rows; ++lane)
        column[lane * rowLength] = static_cast<Real>(value[lane]);
}

template <class S, class Real>
inline typename S::V gather(const Real* column, int rowLength, int rows) {
    typename S::V value = {};
    for (int lane = 0; lane < S::lanes && lane < rows; ++lane)
        value[lane] = static_cast<double>(column[lane * rowLength]);
    return value;
}

/** The pieces of the workspace, for `rows` replicas. */
template <class Real>
struct InternalWorkspace {
    int rowLength, featureLength;
    Vec<typename Simd<double>::V>*x, *gradient, *arms, *alongArms;
    Real *features, *values, *deltas, *slopes;
    WindowsWorkspace<Real> windows;
    std::size_t bytes;

    InternalWorkspace(const InternalPlan<Real>& plan, int rows, char* block) {
        constexpr int lanes = Simd<double>::lanes;
        const std::size_t m = static_cast<std::size_t>(rows), n = static_cast<std::size_t>(plan.beads);
        const std::size_t groups = (m + lanes - 1) / lanes;
        rowLength = static_cast<int>(plan.out.size());
        featureLength = plan.layers.data()[0].backward.view().paddedColumns();
        Arena arena(block);
        x = arena.take<Vec<typename Simd<double>::V>>(groups * n);
        gradient = arena.take<Vec<typename Simd<double>::V>>(n);
        arms = arena.take<Vec<typename Simd<double>::V>>(n);
        alongArms = arena.take<Vec<typename Simd<double>::V>>(n);
        features = arena.take<Real>(m * static_cast<std::size_t>(featureLength));
        values = arena.take<Real>(m * static_cast<std::size_t>(rowLength));
        deltas = arena.take<Real>(m * static_cast<std::size_t>(rowLength));
        slopes = arena.take<Real>(m * static_cast<std::size_t>(rowLength) * plan.layers.size());
        windows = WindowsWorkspace<Real>(plan, rows, arena);
        bytes = arena.used();
    }
};

template <class Real>
inline std::size_t internalWorkspace(const InternalPlan<Real>& plan, int replicas) {
    return InternalWorkspace<Real>(plan, replicas, nullptr).bytes;
}

/** Step 1, for the replicas from `start` on. */
template <class S, class Real>
inline void internalFeatures(const InternalPlan<Real>& plan, int rows, const Vec<typename S::V>* x, Vec<typename S::V>* arms, Real* features,
                             int rowLength) {
    typedef typename S::V V;
    const int count = static_cast<int>(plan.pairs.size());
    const typename InternalPlan<Real>::Pair* pairs = plan.pairs.data();
    for (int p = 0; p < count; ++p) {
        const Vec<V> u = x[pairs[p].first] - x[pairs[p].second];
        scatter<S>((S::sqrt(dot(u, u) + plan.squaredLength) - pairs[p].mean) * pairs[p].inverseWidth, features + p, rowLength, rows);
    }
    for (int k = 0; k < plan.dihedrals; ++k) {
        const Dihedral<S> dihedral(plan, x + k);
        const V c = dihedral.cosine, s = dihedral.sine;
        Real* column = features + count + k;
        scatter<S>(c, column, rowLength, rows);
        scatter<S>(s, column + plan.dihedrals, rowLength, rows);
        scatter<S>(c * c - s * s, column + 2 * plan.dihedrals, rowLength, rows);
        scatter<S>(2.0 * s * c, column + 3 * plan.dihedrals, rowLength, rows);
    }
    const int volumes = static_cast<int>(plan.volumes.size());
    if (volumes == 0)
        return;
    findArms<S>(plan, x, arms);
    const typename InternalPlan<Real>::Volume* corners = plan.volumes.data();
    for (int v = 0; v < volumes; ++v)
        scatter<S>(2.0 * dot(arms[corners[v].first], cross(arms[corners[v].second], arms[corners[v].third])), features + count + 4 * plan.dihedrals + v,
                   rowLength, rows);
}

/** Step 4: the gradient of the positions (overwritten) from the slopes along the features; returns what series add (kT). */
template <class S, class Real>
inline typename S::V internalGradient(const InternalPlan<Real>& plan, int rows, const Vec<typename S::V>* x, const Real* slopes, int rowLength,
                                      Vec<typename S::V>* arms, Vec<typename S::V>* alongArms, Vec<typename S::V>* gradient) {
    typedef typename S::V V;
    V energy = S::all(0.0);
    for (int i = 0; i < plan.beads; ++i)
        gradient[i] = Vec<V>{};
    const int count = static_cast<int>(plan.pairs.size());
    const typename InternalPlan<Real>::Pair* pairs = plan.pairs.data();
    const typename InternalPlan<Real>::Turn* turns = plan.turnOf.empty() ? nullptr : plan.turnOf.data();
    const typename InternalPlan<Real>::Series* series = plan.series.data();
    for (int p = 0; p < count; ++p) {
        const Vec<V> u = x[pairs[p].first] - x[pairs[p].second];
        const V length = S::sqrt(dot(u, u) + plan.squaredLength);
        const V slope = gather<S>(slopes + p, rowLength, rows);
        V perLength = slope * pairs[p].inverseWidth;
        if (turns != nullptr && turns[p].series >= 0) {
            const V v = (length - turns[p].centre) * turns[p].inverseWidth, q = 1.0 / (1.0 + v * v);
            const V c = (1.0 - v * v) * q, s = 2.0 * v * q;
            V alongCosine = S::all(0.0), alongSine = S::all(0.0);
            energy += seriesEnergy<S>(plan, series[turns[p].series], c, s, alongCosine, alongSine);
            perLength += 2.0 * turns[p].inverseWidth * q * (c * alongSine - s * alongCosine);
        }
        const Vec<V> along = (perLength / length) * u;
        gradient[pairs[p].first] += along;
        gradient[pairs[p].second] -= along;
    }
    for (int k = 0; k < plan.dihedrals; ++k) {
        const Dihedral<S> dihedral(plan, x + k);
        const Real* column = slopes + count + k;
        const V alongCosine2 = gather<S>(column + 2 * plan.dihedrals, rowLength, rows);
        const V alongSine2 = gather<S>(column + 3 * plan.dihedrals, rowLength, rows);
        const V c = dihedral.cosine, s = dihedral.sine;
        V alongCosine = gather<S>(column, rowLength, rows) + 2.0 * (c * alongCosine2 + s * alongSine2);
        V alongSine = gather<S>(column + plan.dihedrals, rowLength, rows) + 2.0 * (c * alongSine2 - s * alongCosine2);
        if (!plan.series.empty())
            energy += seriesEnergy<S>(plan, plan.series[static_cast<std::size_t>(k)], c, s, alongCosine, alongSine);
        dihedral.addGradient(alongCosine, alongSine, gradient + k);
    }
    const int volumes = static_cast<int>(plan.volumes.size());
    if (volumes == 0)
        return energy;
    findArms<S>(plan, x, arms);
    for (int i = 0; i < plan.beads; ++i)
        alongArms[i] = Vec<V>{};
    const typename InternalPlan<Real>::Volume* corners = plan.volumes.data();
    for (int v = 0; v < volumes; ++v) {
        const V slope = 2.0 * gather<S>(slopes + count + 4 * plan.dihedrals + v, rowLength, rows);
        const Vec<V> first = arms[corners[v].first], second = slope * arms[corners[v].second], third = arms[corners[v].third];
        alongArms[corners[v].first] += cross(second, third);
        alongArms[corners[v].second] += cross(third, slope * first);
        alongArms[corners[v].third] += cross(first, second);
    }
    addArmGradient<S>(plan, x, arms, alongArms, gradient);
    return energy;
}

/**
 * Steps 2 and 3: energies (kJ/mol) from features, with those that windows have written, and the features replaced by the
 * energy's slopes along them (kT).
 */
template <class Real>
inline void internalLayers(const InternalPlan<Real>& plan, const Batch& batch, const InternalWorkspace<Real>& work) {
    typedef Simd<Real> S;
    typedef typename S::V V;
    const int rows = batch.replicas, length = work.rowLength, depth = static_cast<int>(plan.layers.size());
    const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(rows) * length;
    const typename InternalPlan<Real>::Layer* layers = plan.layers.data();
    const Real* input = work.features;
    int inputLength = work.featureLength;
    for (int l = 0; l < depth; ++l) {
        Real* output = l % 2 == 0 ? work.values : work.deltas;
        Real* slopes = work.slopes + l * size;
        product(rows, Left<Real>{input, inputLength}, packed(layers[l].forward.view()), layers[l].bias.data(), output, length);
        for (std::ptrdiff_t i = 0; i < size; i += S::lanes) {
            V slope;
            S::store(output + i, silu<S>(S::load(output + i), slope));
            S::store(slopes + i, slope);
        }
        input = output;
        inputLength = length;
    }
    const Real* out = plan.out.data();
    Real* last = work.slopes + (depth - 1) * size;
    for (int r = 0; r < rows; ++r) {
        double energy = plan.constant;
        const double ofWindows = plan.windows.count > 0 ? batch.energies[r] : 0.0;
        for (int j = 0; j < length; j += S::lanes) {
            const std::ptrdiff_t i = static_cast<std::ptrdiff_t>(r) * length + j;
            const V weight = S::load(out + j);
            energy += static_cast<double>(S::sum(weight * S::load(input + i)));
            S::store(last + i, weight * S::load(last + i));
        }
        batch.energies[r] = ofWindows + batch.kT * energy;
    }
    backThroughLayers<Real>(layers, depth, rows, length, work.slopes, work.deltas, work.features, work.featureLength);
}

template <class S, class Real>
inline void internalWith(const InternalPlan<Real>& plan, const Batch& batch, const InternalWorkspace<Real>& work) {
    typedef Vec<typename S::V> Point;
    Point* x = reinterpret_cast<Point*>(work.x);
    Point *gradient = reinterpret_cast<Point*>(work.gradient), *arms = reinterpret_cast<Point*>(work.arms);
    Point* alongArms = reinterpret_cast<Point*>(work.alongArms);
    for (int start = 0; start < batch.replicas; start += S::lanes) {
        Point* own = x + start / S::lanes * plan.beads;
        loadReplicas<S>(batch, start, own);
        internalFeatures<S>(plan, batch.replicas - start, own, arms, work.features + static_cast<std::ptrdiff_t>(start) * work.featureLength,
                            work.featureLength);
    }
    if (plan.windows.count > 0)
        windowLayers<Real>(plan, batch, work.features, work.featureLength, work.windows);
    internalLayers(plan, batch, work);
    if (plan.windows.count > 0)
        addWindows(plan, batch.replicas, work.windows, work.features, work.featureLength);
    for (int start = 0; start < batch.replicas; start += S::lanes) {
        const typename S::V added =
            internalGradient<S>(plan, batch.replicas - start, x + start / S::lanes * plan.beads,
                                work.features + static_cast<std::ptrdiff_t>(start) * work.featureLength, work.featureLength, arms, alongArms, gradient);
        for (int lane = 0; lane < S::lanes && start + lane < batch.replicas; ++lane)
            batch.energies[start + lane] += batch.kT * added[lane];
        addForces<S>(batch, start, gradient);
    }
}

template <class Real>
inline void internal(const InternalPlan<Real>& plan, const Batch& batch, char* workspace) {
    const InternalWorkspace<Real> work(plan, batch.replicas, workspace);
    if (batch.replicas == 1)
        internalWith<Simd<double, 16>>(plan, batch, work);
    else
        internalWith<Simd<double>>(plan, batch, work);
}

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
