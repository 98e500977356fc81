#ifndef FPFORCE_ENERGY_PRIOR_PLAN_H_
#define FPFORCE_ENERGY_PRIOR_PLAN_H_

#include <vector>

#include "../model/ModelFile.h"
#include "Noise.h"

namespace FPForcePlugin {

/**
 * The analytic prior at the time of evaluation, in normalised units and kT (see training/models/prior.py):
 *
 *     E(x) = 1/2 sum_ij quadratic_ij x_i . x_j + sum_pairs [ (d - a)^2 / (2 v) + ln(q / (1 - e^-q)) ] + constant,  q = rate d
 *
 * The diffused Gaussian and the pairs' own Gaussians, which it subtracts, are one quadratic form. Always in float64: the
 * stiff bonds need it, and it costs next to nothing.
 */
struct PriorPlan {
    struct Pair {
        int first, second;
        double a, inverseVariance, rate;
    };
    int beads = 0;
    std::vector<double> quadratic;  // beads x beads, symmetric, rows sum to zero
    std::vector<Pair> pairs;
    double constant = 0.0;

    PriorPlan(const ModelFile& model, const NoiseLevel& level);
};

}  // namespace FPForcePlugin

#endif
