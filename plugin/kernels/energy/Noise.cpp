#include "Noise.h"

#include <cmath>

namespace FPForcePlugin {

NoiseLevel::NoiseLevel(double t) : t(t) {
    const double logAlpha = -0.05 * t - 4.975 * t * t;
    alpha = std::exp(logAlpha);
    signal = alpha * alpha;
    noise = -std::expm1(2.0 * logAlpha);
}

std::vector<double> noiseFeatures(const ModelFile& model, const NoiseLevel& level) {
    const double halfPi = 1.5707963267948966;
    const double floor = model.number("model.settings.v_min", 1e-12, 1.0);
    const double low = std::log(floor), high = std::log1p(floor);
    const double position = 2.0 * (std::log(level.noise + floor) - low) / (high - low) - 1.0;
    const double angle = halfPi * position;
    return {position, std::sin(angle), std::cos(angle), std::sin(2.0 * angle), std::cos(2.0 * angle)};
}

std::vector<double> linear(const Tensor& weight, const std::vector<double>& bias, const std::vector<double>& input) {
    const std::size_t rows = static_cast<std::size_t>(weight.shape[0]);
    std::vector<double> output(rows);
    for (std::size_t i = 0; i < rows; ++i) {
        double total = bias.empty() ? 0.0 : bias[i];
        for (std::size_t k = 0; k < input.size(); ++k)
            total += weight.values[i * input.size() + k] * input[k];
        output[i] = total;
    }
    return output;
}

double timeHead(const ModelFile& model, const std::string& name, const std::vector<double>& features) {
    const Tensor& inner = model.tensor(name + ".0.weight", {-1, static_cast<std::int64_t>(features.size())});
    std::vector<double> hidden = linear(inner, model.tensor(name + ".0.bias", {inner.shape[0]}).values, features);
    for (double& value : hidden)
        value /= 1.0 + std::exp(-value);
    const Tensor& outer = model.tensor(name + ".2.weight", {1, inner.shape[0]});
    return linear(outer, model.tensor(name + ".2.bias", {1}).values, hidden)[0];
}

}  // namespace FPForcePlugin
