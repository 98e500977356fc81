#ifndef FPFORCE_TESTS_EVALUATOR_TOOLS_H_
#define FPFORCE_TESTS_EVALUATOR_TOOLS_H_

/** Models, positions and comparisons for the tests of the evaluator. */

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Evaluator.h"
#include "model/ModelFile.h"

namespace FPForcePlugin {

constexpr double kT = 2.494338785445972;

struct Named {
    std::string name;
    ModelFile model;
};

/** Small models of every kind and of every special case of shape. */
const std::vector<Named>& models();

/** Instruction sets that this machine can run. */
const std::vector<std::string>& instructionSets();

/** An evaluator for one instruction set; an empty name stands for the best. */
std::unique_ptr<Evaluator> make(const ModelFile& model, Precision precision, const std::string& isa = "", int threads = 1,
                                Terms terms = Terms::All);

struct Result {
    Energy energy;
    std::vector<double> forces;
    double total() const {
        return energy.network + energy.prior;
    }
};

/** Energies in kJ/mol and forces in kJ/mol/nm of positions in nm, replica after replica. */
Result evaluate(Evaluator& evaluator, const std::vector<double>& positions, double networkScale = 1.0, double priorScale = 1.0);

/** Random positions in nm of `replicas` molecules. */
std::vector<double> frames(int beads, int replicas, std::uint64_t seed);

double rootMeanSquare(const std::vector<double>& values);

/** The largest difference between two sets of forces, relative to their size (absolute for a single bead, which feels none). */
double deviation(const std::vector<double>& found, const std::vector<double>& wanted);

/** Calls test(model, isa) for every pair, and says which failed. */
template <class Body>
void forEachModelAndIsa(Body test) {
    for (const Named& named : models())
        for (const std::string& isa : instructionSets()) {
            try {
                test(named.model, isa);
            } catch (const std::exception& error) {
                throw std::runtime_error(named.name + ", " + isa + ": " + error.what());
            }
        }
}

}  // namespace FPForcePlugin

#endif
