#include "EvaluatorTools.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "ModelError.h"
#include "RandomModel.h"

namespace FPForcePlugin {

const std::vector<Named>& models() {
    static const std::vector<Named> all = [] {
        std::vector<Named> list;
        for (const ModelShape& shape : {ModelShape{5, 32, 2}, ModelShape{2, 7, 1}, ModelShape{3, 16, 3}, ModelShape{9, 50, 2, 16, false},
                                        ModelShape{7, 16, 2, 16, true, 1, true}, ModelShape{6, 16, 2, 16, false, 1, true},
                                        ModelShape{8, 20, 2, 16, true, 1, false, true, 5, 12},
                                        ModelShape{6, 16, 3, 16, false, 1, true, false, 4, 37}})
            list.push_back({"internal of " + std::to_string(shape.beads) + " beads", randomInternal(shape).parse()});
        for (const ModelShape& shape : {ModelShape{5, 32, 2, 16}, ModelShape{1, 4, 1, 2}, ModelShape{2, 8, 1, 8},
                                        ModelShape{3, 8, 2, 8}, ModelShape{10, 20, 3, 10, false}, ModelShape{19, 12, 2, 3},
                                        ModelShape{11, 16, 2, 8, true, 1, true}})
            list.push_back({"graph_transformer of " + std::to_string(shape.beads) + " beads", randomGraphTransformer(shape).parse()});
        return list;
    }();
    return all;
}

const std::vector<std::string>& instructionSets() {
    static const std::vector<std::string> available = [] {
        std::vector<std::string> names;
        for (const char* name : {"portable", "x86-64-v3", "x86-64-v4"}) {
            setenv("FPFORCE_ISA", name, 1);
            try {
                Evaluator::create(models()[0].model, Precision::Single, 1);
                names.push_back(name);
            } catch (const ModelError&) {
            }
        }
        unsetenv("FPFORCE_ISA");
        return names;
    }();
    return available;
}

std::unique_ptr<Evaluator> make(const ModelFile& model, Precision precision, const std::string& isa, int threads,
                                Terms terms) {
    setenv("FPFORCE_ISA", isa.c_str(), 1);  // empty: the best
    return Evaluator::create(model, precision, threads, terms);
}

Result evaluate(Evaluator& evaluator, const std::vector<double>& positions, double networkScale, double priorScale) {
    Result result;
    result.forces.assign(positions.size(), 1e300);  // overwritten, not added to
    const int replicas = static_cast<int>(positions.size()) / (3 * evaluator.beads());
    result.energy = evaluator.evaluate(positions.data(), replicas, networkScale, priorScale, result.forces.data());
    return result;
}

std::vector<double> frames(int beads, int replicas, std::uint64_t seed) {
    Random random(seed);
    std::vector<double> all;
    for (int r = 0; r < replicas; ++r) {
        const std::vector<double> one = randomFrame(beads, random);
        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

double rootMeanSquare(const std::vector<double>& values) {
    double sum = 0.0;
    for (const double value : values)
        sum += value * value;
    return std::sqrt(sum / static_cast<double>(values.size()));
}

double deviation(const std::vector<double>& found, const std::vector<double>& wanted) {
    double largest = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double difference = std::fabs(found[i] - wanted[i]);
        if (!(difference <= largest))  // NaN too
            largest = difference;
    }
    const double size = rootMeanSquare(wanted);
    return size == 0.0 ? largest : largest / size;
}

}  // namespace FPForcePlugin
