// What benchmarks/langevin_speed.py compares the plugin's smallest case with: the layers of the `internal` network and their
// reverse pass for one molecule as plain loops, without geometry, prior or OpenMM. Compiled for the machine it runs on.

#include <cmath>
#include <vector>

extern "C" void bare_loop(int inputs, int width, int layers, int repetitions, float* features) {
    std::vector<std::vector<float>> weights, transposed;
    std::vector<std::vector<float>> slopes(static_cast<std::size_t>(layers), std::vector<float>(static_cast<std::size_t>(width)));
    for (int l = 0; l < layers; ++l) {
        const int rows = l == 0 ? inputs : width;
        weights.emplace_back(static_cast<std::size_t>(rows * width));
        transposed.emplace_back(static_cast<std::size_t>(rows * width));
        for (int k = 0; k < rows; ++k)
            for (int j = 0; j < width; ++j)
                weights.back()[k * width + j] = transposed.back()[j * rows + k] = 0.1f * std::sin(k + 7.0f * j + l);
    }
    std::vector<float> value(static_cast<std::size_t>(width)), next(static_cast<std::size_t>(width));
    for (int repetition = 0; repetition < repetitions; ++repetition) {
        const float* x = features;
        for (int l = 0; l < layers; ++l) {
            const int rows = l == 0 ? inputs : width;
            const float* w = weights[l].data();
            float* __restrict y = next.data();
            for (int j = 0; j < width; ++j)
                y[j] = 0.01f;
            for (int k = 0; k < rows; ++k)
                for (int j = 0; j < width; ++j)
                    y[j] += x[k] * w[k * width + j];
            for (int j = 0; j < width; ++j) {
                const float logistic = 1.0f / (1.0f + std::exp(-y[j]));
                slopes[l][j] = logistic * (1.0f + y[j] * (1.0f - logistic));
                y[j] *= logistic;
            }
            value.swap(next);
            x = value.data();
        }
        for (int j = 0; j < width; ++j)
            value[j] = slopes[layers - 1][j];
        for (int l = layers - 1; l >= 0; --l) {
            const int rows = l == 0 ? inputs : width;
            const float* w = transposed[l].data();
            float* __restrict y = l == 0 ? features : next.data();
            for (int k = 0; k < rows; ++k)
                y[k] = 0.0f;
            for (int j = 0; j < width; ++j)
                for (int k = 0; k < rows; ++k)
                    y[k] += value[j] * w[j * rows + k];
            if (l > 0) {
                for (int k = 0; k < rows; ++k)
                    y[k] *= slopes[l - 1][k];
                value.swap(next);
            }
        }
        for (int k = 0; k < inputs; ++k)
            features[k] = 0.5f + 1e-3f * features[k];
    }
}
