#ifndef FPFORCE_ENERGY_PRIOR_PLAN_H_
#define FPFORCE_ENERGY_PRIOR_PLAN_H_

#include <vector>

#include "../model/ModelFile.h"
#include "Noise.h"

namespace FPForcePlugin {

/**
 * What the energy is without the network, in normalised units and kT: the analytic prior at the time of evaluation (see
 * training/models/prior.py) and the wall (fpforce/forcefield/wall.py), either of which a model may lack:
 *
 *     E(x) = 1/2 sum_ij quadratic_ij x_i . x_j + sum_pairs [ (d - a)^2 / (2 v) + ln(q / (1 - e^-q)) ] + constant
 *          + 1/2 sum_pq couplings_pq (d_p - a_p) (d_q - a_q) + wallHeight sum_walls max(1 - d / distance, 0)^3,    q = rate d
 *
 * The diffused Gaussian and the pairs' own Gaussians, which it subtracts, are one quadratic form. The couplings
 * are those of training/models/couplings.py. Always in float64: the
 * stiff bonds need it, and it costs next to nothing.
 */
struct PriorPlan {
    struct Pair {
        int first, second;
        double a, inverseVariance, rate;
    };
    struct Wall {
        int first, second;
        double distance;
    };
    int beads = 0;
    std::vector<double> quadratic;  // beads x beads, symmetric, rows sum to zero; empty without a prior
    std::vector<Pair> pairs;
    std::vector<double> couplings;  // pairs x pairs, symmetric; empty for pairs that know nothing of each other
    std::vector<Wall> walls;
    double constant = 0.0, wallHeight = 0.0;

    PriorPlan(const ModelFile& model, const NoiseLevel& level);
    /** Whether a model has any of it. */
    static bool isIn(const ModelFile& model);

private:
    void readPrior(const ModelFile& model, const NoiseLevel& level);
    void readCouplings(const ModelFile& model, const NoiseLevel& level);
    void readWall(const ModelFile& model);
};

}  // namespace FPForcePlugin

#endif
