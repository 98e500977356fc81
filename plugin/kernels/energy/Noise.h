#ifndef FPFORCE_ENERGY_NOISE_H_
#define FPFORCE_ENERGY_NOISE_H_

#include <string>
#include <vector>

#include "../model/ModelFile.h"

namespace FPForcePlugin {

/** The forward process at the one time of evaluation t: alpha, alpha^2 and sigma^2 = 1 - alpha^2 (see training/diffusion.py). */
struct NoiseLevel {
    double t, alpha, signal, noise;
    explicit NoiseLevel(double t);
};

/** The five features of the noise level that the networks see, for the model's own v_min and t_eval. */
std::vector<double> noiseFeatures(const ModelFile& model, const NoiseLevel& level);

/** weight (rows x inputs) input + bias (rows, may be empty): a small linear layer evaluated once, when a model is loaded. */
std::vector<double> linear(const Tensor& weight, const std::vector<double>& bias, const std::vector<double>& input);

/** c(t), the head Linear - silu - Linear called `name` that ignores the positions. */
double timeHead(const ModelFile& model, const std::string& name, const std::vector<double>& features);

}  // namespace FPForcePlugin

#endif
