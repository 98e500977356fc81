#ifndef FPFORCE_SIMD_REPLICAS_H_
#define FPFORCE_SIMD_REPLICAS_H_

/**
 * Replicas in the lanes: geometry is worked out for as many molecules at a time as a register holds, in float64, so that
 * differences of positions keep their digits wherever the molecule has drifted.
 */

#include "../energy/Kernels.h"
#include "Vector.h"

namespace FPForcePlugin {
namespace FPFORCE_ISA {

/** A point or direction of every lane's molecule. */
template <class V>
struct Vec {
    V x, y, z;
    Vec operator+(const Vec& o) const {
        return {x + o.x, y + o.y, z + o.z};
    }
    Vec operator-(const Vec& o) const {
        return {x - o.x, y - o.y, z - o.z};
    }
    Vec& operator+=(const Vec& o) {
        x += o.x;
        y += o.y;
        z += o.z;
        return *this;
    }
    Vec& operator-=(const Vec& o) {
        x -= o.x;
        y -= o.y;
        z -= o.z;
        return *this;
    }
};

template <class V>
inline Vec<V> operator*(V a, const Vec<V>& b) {
    return {a * b.x, a * b.y, a * b.z};
}

template <class V>
inline V dot(const Vec<V>& a, const Vec<V>& b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

template <class V>
inline Vec<V> cross(const Vec<V>& a, const Vec<V>& b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

/** Subtracts the mean over the beads. */
template <class S>
inline void centre(int beads, Vec<typename S::V>* x) {
    Vec<typename S::V> mean = x[0];
    for (int i = 1; i < beads; ++i)
        mean += x[i];
    mean = S::all(1.0 / beads) * mean;
    for (int i = 0; i < beads; ++i)
        x[i] -= mean;
}

/** Centred positions, in normalised units, of replicas first, first + 1, ...; lanes beyond the last repeat it. */
template <class S>
inline void loadReplicas(const Batch& batch, int first, Vec<typename S::V>* x) {
    for (int lane = 0; lane < S::lanes; ++lane) {
        const int replica = first + lane < batch.replicas ? first + lane : batch.replicas - 1;
        const double* r = batch.positions + static_cast<std::ptrdiff_t>(replica) * batch.beads * 3;
        for (int i = 0; i < batch.beads; ++i) {
            x[i].x[lane] = r[3 * i];
            x[i].y[lane] = r[3 * i + 1];
            x[i].z[lane] = r[3 * i + 2];
        }
    }
    centre<S>(batch.beads, x);
    for (int i = 0; i < batch.beads; ++i)
        x[i] = S::all(batch.inverseLength) * x[i];
}

/** Adds -scale kT gradient / length to the forces of the replicas that were loaded. */
template <class S>
inline void addForces(const Batch& batch, int first, const Vec<typename S::V>* gradient) {
    const double factor = -batch.scale * batch.kT * batch.inverseLength;
    for (int lane = 0; lane < S::lanes && first + lane < batch.replicas; ++lane) {
        double* f = batch.forces + static_cast<std::ptrdiff_t>(first + lane) * batch.beads * 3;
        for (int i = 0; i < batch.beads; ++i) {
            f[3 * i] += factor * gradient[i].x[lane];
            f[3 * i + 1] += factor * gradient[i].y[lane];
            f[3 * i + 2] += factor * gradient[i].z[lane];
        }
    }
}

/** Hands out pieces of one block of memory, each at the alignment of a cache line; with a null block it only counts. */
class Arena {
public:
    explicit Arena(char* block) : block_(block) {}
    template <class T>
    T* take(std::size_t count) {
        char* piece = block_ == nullptr ? nullptr : block_ + used_;
        used_ += (count * sizeof(T) + 63) / 64 * 64;
        return reinterpret_cast<T*>(piece);
    }
    std::size_t used() const {
        return used_;
    }

private:
    char* block_;
    std::size_t used_ = 0;
};

}  // namespace FPFORCE_ISA
}  // namespace FPForcePlugin

#endif
