#ifndef FPFORCE_ENERGY_INTERNAL_PLAN_H_
#define FPFORCE_ENERGY_INTERNAL_PLAN_H_

#include <vector>

#include "../PackedMatrix.h"
#include "../model/ModelFile.h"
#include "Noise.h"

namespace FPForcePlugin {

/**
 * The `internal` network at the time of evaluation (see training/models/internal.py), all that depends on the time alone
 * folded into constants:
 *
 *     features = [ (sqrt(|x_i - x_j|^2 + length^2) - mean) inverseWidth of every pair; cos, sin, cos^2 - sin^2, 2 sin cos of every dihedral;
 *                  2 y_i . (y_j x y_k) of every volume, y = x / sqrt(|x|^2 + armBlur) from the centre ]
 *     h_0 = features,   h_l = silu(W_l h_{l-1} + b_l),   E = out . h_L + constant + windows + series of dihedrals and distances
 *
 * The network's second feature of a pair is a constant times the first, so its column is added to the first's; b_l includes
 * the time conditions, `out` the gate and alpha^2.
 */
template <class Real>
struct InternalPlan {
    struct Pair {
        int first, second;
        double mean, inverseWidth;
    };
    struct Volume {
        int first, second, third;
    };
    /**
     * Of one dihedral or one distance: sum_n Re((even_n - i odd_n) z^n), z = (cos + i sin) / sqrt(cos^2 + sin^2 + delta), n from 1.
     * The angle of a distance is 2 atan((distance - centre) inverseWidth).
     */
    struct Series {
        std::vector<double> even, odd;
    };
    struct Turn {
        int series;  // of the pair's distance; -1 where it has none
        double centre, inverseWidth;
    };
    struct Layer {
        PackedMatrix<Real> forward, backward;  // W^T (inputs x width) and W (width x inputs)
        AlignedBuffer<Real> bias;              // padded like the columns of `forward`
    };
    /**
     * Energies of stretches of beads (training/models/windows.py), by one network whose biases and last weights alone differ
     * between them: its inputs are `factor` times `feature`, and there is a row of biases and of `out` for each stretch. What
     * features of distances have at a later time beyond a factor is in the biases.
     */
    struct Windows {
        int count = 0, inputs = 0, width = 0;
        std::vector<int> feature;    // count x inputs
        AlignedBuffer<Real> factor;  // the same
        std::vector<Layer> layers;   // `bias`: count x width, padded like the columns of `forward`
        AlignedBuffer<Real> out;     // the same
        /** Numbers in a row of `bias` and `out`. */
        int length() const {
            return layers.empty() ? 0 : layers.front().forward.view().paddedColumns();
        }
    };
    int beads = 0, width = 0, dihedrals = 0;
    double squaredLength = 0.0, blur = 0.0, armBlur = 0.0;  // added to squared distances, squared normals, and squared arms of volumes
    std::vector<Pair> pairs;
    std::vector<Volume> volumes;
    std::vector<Series> series;  // of every dihedral, of every pair (k, k + 2), and of other pairs; or none
    std::vector<Turn> turnOf;    // of every pair, where there are series
    double delta = 0.0, span = 1.0;
    std::vector<Layer> layers;
    AlignedBuffer<Real> out;  // width, padded
    Windows windows;          // of `count` 0 where there are none
    double constant = 0.0;

    int features() const {
        return static_cast<int>(pairs.size()) + 4 * dihedrals + static_cast<int>(volumes.size());
    }
    /** Multiply-adds of one replica's energy and force. */
    double multiplyAdds() const {
        const auto of = [](double inputs, double width, std::size_t depth) { return 2.0 * width * (inputs + (static_cast<double>(depth) - 1.0) * width + 1.0); };
        return of(features(), width, layers.size()) + windows.count * of(windows.inputs, windows.width, windows.layers.size());
    }
    /** panel: the columns in a panel of the matrix product that will be used. */
    InternalPlan(const ModelFile& model, int panel);

private:
    void readVolumes(const ModelFile& model, const NoiseLevel& level);
    void readSeries(const ModelFile& model);
    void readPairSeries(const ModelFile& model);
    void addSeries(const Tensor& weights);
    void readWindows(const ModelFile& model, const NoiseLevel& level, int panel);
};

}  // namespace FPForcePlugin

#endif
