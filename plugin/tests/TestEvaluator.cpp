/** Evaluator: energies and forces of every kind of model, in both precisions, on every instruction set of the machine. */

#include "Evaluator.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>

#include "Allocations.h"
#include "Check.h"
#include "ModelError.h"
#include "RandomModel.h"

using namespace FPForcePlugin;

namespace {

struct Named {
    std::string name;
    ModelFile model;
};

/** Small models of every kind and of every special case of shape. */
const std::vector<Named>& models() {
    static const std::vector<Named> all = [] {
        std::vector<Named> list;
        for (const ModelShape& shape : {ModelShape{5, 32, 2}, ModelShape{2, 7, 1}, ModelShape{3, 16, 3}, ModelShape{9, 50, 2, 16, false}})
            list.push_back({"internal of " + std::to_string(shape.beads) + " beads", randomInternal(shape).parse()});
        for (const ModelShape& shape : {ModelShape{5, 32, 2, 16}, ModelShape{1, 4, 1, 2}, ModelShape{2, 8, 1, 8},
                                        ModelShape{3, 8, 2, 8}, ModelShape{10, 20, 3, 10, false}, ModelShape{19, 12, 2, 3}})
            list.push_back({"graph_transformer of " + std::to_string(shape.beads) + " beads", randomGraphTransformer(shape).parse()});
        return list;
    }();
    return all;
}

/** Instruction sets that this machine can run. */
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

std::unique_ptr<Evaluator> make(const ModelFile& model, Precision precision, const std::string& isa = "", int threads = 1,
                                Terms terms = Terms::All) {
    setenv("FPFORCE_ISA", isa.c_str(), 1);  // empty: the best
    return Evaluator::create(model, precision, threads, terms);
}

struct Result {
    Energy energy;
    std::vector<double> forces;
    double total() const {
        return energy.network + energy.prior;
    }
};

Result evaluate(Evaluator& evaluator, const std::vector<double>& positions, double networkScale = 1.0, double priorScale = 1.0) {
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

/** The largest difference between two sets of forces, relative to their size (absolute for a single bead, which feels none). */
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

/** Positions rotated by the unit quaternion along (a, b, c, d). */
std::vector<double> rotated(const std::vector<double>& x, double a, double b, double c, double d) {
    const double n = a * a + b * b + c * c + d * d;
    const double matrix[3][3] = {{(a * a + b * b - c * c - d * d) / n, 2 * (b * c - a * d) / n, 2 * (b * d + a * c) / n},
                                 {2 * (b * c + a * d) / n, (a * a - b * b + c * c - d * d) / n, 2 * (c * d - a * b) / n},
                                 {2 * (b * d - a * c) / n, 2 * (c * d + a * b) / n, (a * a - b * b - c * c + d * d) / n}};
    std::vector<double> result;
    for (std::size_t i = 0; i < x.size(); i += 3)
        for (const auto& row : matrix)
            result.push_back(row[0] * x[i] + row[1] * x[i + 1] + row[2] * x[i + 2]);
    return result;
}

std::vector<double> shifted(std::vector<double> x, double by) {
    for (double& value : x)
        value += by;
    return x;
}

constexpr double kT = 2.494338785445972;

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

}  // namespace

TEST(evaluator_uses_the_instruction_set_asked_for) {
    CHECK(!instructionSets().empty());
    for (const std::string& isa : instructionSets())
        CHECK(make(models()[0].model, Precision::Single, isa)->isa() == isa);
    CHECK(make(models()[0].model, Precision::Single)->isa() == instructionSets().back());
    CHECK_THROWS(make(models()[0].model, Precision::Single, "sse9"), ModelError, "FPFORCE_ISA=sse9");
}

TEST(force_is_minus_the_energy_gradient) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        const auto evaluator = make(model, Precision::Double, isa);
        std::vector<double> x = frames(model.beads(), 2, 11);
        const Result network = evaluate(*evaluator, x, 1.0, 0.0), prior = evaluate(*evaluator, x, 0.0, 1.0);
        std::vector<double> networkForces(x.size()), priorForces(x.size());
        const double step = 2e-6;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double centre = x[i];
            x[i] = centre + step;
            const Energy above = evaluate(*evaluator, x).energy;
            x[i] = centre - step;
            const Energy below = evaluate(*evaluator, x).energy;
            x[i] = centre;
            networkForces[i] = -(above.network - below.network) / (2.0 * step);
            priorForces[i] = -(above.prior - below.prior) / (2.0 * step);
        }
        CHECK_CLOSE(deviation(network.forces, networkForces), 0.0, 1e-6);
        if (model.hasTensor("prior.radius"))
            CHECK_CLOSE(deviation(prior.forces, priorForces), 0.0, 1e-6);
        else
            CHECK(rootMeanSquare(prior.forces) == 0.0 && prior.energy.prior == 0.0);
    });
}

TEST(energies_are_not_scaled_and_forces_are) {
    for (const Named& named : models()) {
        const auto evaluator = make(named.model, Precision::Double);
        const std::vector<double> x = frames(named.model.beads(), 2, 12);
        const Result network = evaluate(*evaluator, x, 1.0, 0.0), prior = evaluate(*evaluator, x, 0.0, 1.0);
        const Result mixed = evaluate(*evaluator, x, 0.3, 2.0);
        CHECK(mixed.energy.network == network.energy.network && mixed.energy.prior == prior.energy.prior);
        std::vector<double> wanted(x.size());
        for (std::size_t i = 0; i < x.size(); ++i)
            wanted[i] = 0.3 * network.forces[i] + 2.0 * prior.forces[i];
        CHECK_CLOSE(deviation(mixed.forces, wanted), 0.0, 1e-12);
    }
}

TEST(terms_left_out_contribute_nothing) {
    const ModelFile& model = models()[0].model;
    const std::vector<double> x = frames(model.beads(), 2, 13);
    const Result all = evaluate(*make(model, Precision::Double), x);
    const Result network = evaluate(*make(model, Precision::Double, "", 1, Terms::Network), x);
    const Result prior = evaluate(*make(model, Precision::Double, "", 1, Terms::Prior), x);
    CHECK(network.energy.prior == 0.0 && network.energy.network == all.energy.network);
    CHECK(prior.energy.network == 0.0 && prior.energy.prior == all.energy.prior);
    std::vector<double> sum(x.size());
    std::transform(network.forces.begin(), network.forces.end(), prior.forces.begin(), sum.begin(), std::plus<double>());
    CHECK_CLOSE(deviation(sum, all.forces), 0.0, 1e-14);
}

TEST(single_precision_agrees_with_double) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        const auto single = make(model, Precision::Single, isa), exact = make(model, Precision::Double, isa);
        for (const int replicas : {1, 3, 35}) {
            const std::vector<double> x = frames(model.beads(), replicas, 14);
            const Result found = evaluate(*single, x), wanted = evaluate(*exact, x);
            CHECK_CLOSE(found.total(), wanted.total(), 1e-5 * (std::fabs(wanted.total()) + kT * replicas));
            CHECK_CLOSE(deviation(found.forces, wanted.forces), 0.0, 1e-5);
        }
    });
}

TEST(instruction_sets_agree) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        for (const Precision precision : {Precision::Single, Precision::Double}) {
            const double tolerance = precision == Precision::Single ? 1e-5 : 1e-12;
            const std::vector<double> x = frames(model.beads(), 21, 15);
            const Result found = evaluate(*make(model, precision, isa), x), wanted = evaluate(*make(model, precision, "portable"), x);
            CHECK_CLOSE(found.total(), wanted.total(), tolerance * (std::fabs(wanted.total()) + 21 * kT));
            CHECK_CLOSE(deviation(found.forces, wanted.forces), 0.0, tolerance);
        }
    });
}

TEST(energy_is_invariant_and_force_turns_with_the_molecule) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        const auto evaluator = make(model, Precision::Double, isa);
        const std::vector<double> x = frames(model.beads(), 1, 16);
        const Result before = evaluate(*evaluator, x);
        const Result turned = evaluate(*evaluator, rotated(x, 0.3, -0.8, 0.4, 0.5));
        CHECK_CLOSE(turned.total(), before.total(), 1e-10 * (std::fabs(before.total()) + kT));
        CHECK_CLOSE(deviation(turned.forces, rotated(before.forces, 0.3, -0.8, 0.4, 0.5)), 0.0, 1e-10);
        // As far as a molecule drifts in microseconds: only the rounding of the positions themselves may show.
        const Result far = evaluate(*evaluator, shifted(x, 512.0));
        CHECK_CLOSE(far.total(), before.total(), 1e-8 * (std::fabs(before.total()) + kT));
        CHECK_CLOSE(deviation(far.forces, before.forces), 0.0, 1e-8);
    });
}

TEST(drifting_far_costs_single_precision_nothing) {
    for (const Named& named : models()) {
        const auto evaluator = make(named.model, Precision::Single);
        const std::vector<double> x = frames(named.model.beads(), 1, 17);
        CHECK_CLOSE(deviation(evaluate(*evaluator, shifted(x, 512.0)).forces, evaluate(*evaluator, x).forces), 0.0, 1e-5);
    }
}

TEST(mirror_images_differ) {
    for (const Named& named : models()) {
        if (named.model.beads() < 4)
            continue;  // a mirror image is a rotation
        const auto evaluator = make(named.model, Precision::Double);
        const std::vector<double> x = frames(named.model.beads(), 1, 18);
        std::vector<double> mirrored = x;
        for (std::size_t i = 2; i < x.size(); i += 3)
            mirrored[i] = -x[i];
        CHECK(std::fabs(evaluate(*evaluator, mirrored).total() - evaluate(*evaluator, x).total()) > 0.01 * kT);
    }
}

TEST(replicas_are_independent) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        for (const Precision precision : {Precision::Single, Precision::Double}) {
            const double tolerance = precision == Precision::Single ? 2e-6 : 1e-13;
            const auto evaluator = make(model, precision, isa);
            const int replicas = 37, size = 3 * model.beads();
            const std::vector<double> x = frames(model.beads(), replicas, 19);
            const Result together = evaluate(*evaluator, x);
            double total = 0.0;
            std::vector<double> reversed(x.size()), alone(x.size());
            for (int r = 0; r < replicas; ++r) {
                std::copy_n(x.begin() + r * size, size, reversed.begin() + (replicas - 1 - r) * size);
                const Result single = evaluate(*evaluator, std::vector<double>(x.begin() + r * size, x.begin() + (r + 1) * size));
                total += single.total();
                std::copy(single.forces.begin(), single.forces.end(), alone.begin() + r * size);
            }
            CHECK_CLOSE(together.total(), total, tolerance * (std::fabs(total) + replicas * kT));
            CHECK_CLOSE(deviation(together.forces, alone), 0.0, tolerance);
            const Result backwards = evaluate(*evaluator, reversed);
            for (int r = 0; r < replicas; ++r)
                CHECK(std::equal(together.forces.begin() + r * size, together.forces.begin() + (r + 1) * size,
                                 backwards.forces.begin() + (replicas - 1 - r) * size));
        }
    });
}

TEST(thread_counts_agree_bit_for_bit) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        for (const Precision precision : {Precision::Single, Precision::Double})
            for (const int replicas : {5, 61}) {
                const std::vector<double> x = frames(model.beads(), replicas, 20);
                const Result wanted = evaluate(*make(model, precision, isa, 1), x);
                for (const int threads : {3, 0}) {
                    const Result found = evaluate(*make(model, precision, isa, threads), x);
                    CHECK(found.energy.network == wanted.energy.network && found.energy.prior == wanted.energy.prior);
                    CHECK(found.forces == wanted.forces);
                }
            }
    });
}

TEST(a_replica_that_is_not_finite_harms_no_other) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        const auto evaluator = make(model, Precision::Single, isa);
        const int replicas = 9, size = 3 * model.beads();
        std::vector<double> x = frames(model.beads(), replicas, 21);
        const Result before = evaluate(*evaluator, x);
        x[static_cast<std::size_t>(4 * size + 1)] = std::numeric_limits<double>::quiet_NaN();
        x[static_cast<std::size_t>(6 * size)] = std::numeric_limits<double>::infinity();
        const Result after = evaluate(*evaluator, x);
        CHECK(!std::isfinite(after.total()));
        for (int r = 0; r < replicas; ++r) {
            const auto own = after.forces.begin() + r * size;
            if (r == 4 || r == 6)
                CHECK(std::any_of(own, own + size, [](double value) { return !std::isfinite(value); }));
            else
                CHECK(std::equal(own, own + size, before.forces.begin() + r * size));
        }
        x = frames(model.beads(), replicas, 21);
        CHECK(evaluate(*evaluator, x).forces == before.forces);  // and nothing of it stays
        x[0] = std::numeric_limits<double>::quiet_NaN();
        evaluate(*evaluator, x);
        x = frames(model.beads(), 2, 21);  // nor where fewer replicas cut up the memory anew
        CHECK(evaluate(*evaluator, x).forces == evaluate(*make(model, Precision::Single, isa), x).forces);
    });
}

TEST(degenerate_and_distant_beads_give_finite_forces) {
    forEachModelAndIsa([](const ModelFile& model, const std::string& isa) {
        for (const Precision precision : {Precision::Single, Precision::Double}) {
            const auto evaluator = make(model, precision, isa);
            std::vector<double> line, point, wide;
            for (int i = 0; i < model.beads(); ++i)
                for (int axis = 0; axis < 3; ++axis) {
                    line.push_back(axis == 0 ? 0.14 * i : 0.0);
                    point.push_back(1.0);
                    wide.push_back(20.0 * (i * i % 5) + 7.0 * axis * i);
                }
            for (const std::vector<double>& x : {line, point, wide}) {
                const Result result = evaluate(*evaluator, x);
                CHECK(std::isfinite(result.total()));
                CHECK(std::all_of(result.forces.begin(), result.forces.end(), [](double value) { return std::isfinite(value); }));
            }
        }
    });
}

TEST(evaluation_allocates_nothing_after_the_first_call) {
    for (const Named& named : models())
        for (const int threads : {1, 2}) {
            const auto evaluator = make(named.model, Precision::Single, "", threads);
            const std::vector<double> x = frames(named.model.beads(), 150, 22);
            std::vector<double> forces(x.size());
            for (const int replicas : {150, 60})
                evaluator->evaluate(x.data(), replicas, 1.0, 1.0, forces.data());
            const Allocations allocations;
            for (const int replicas : {150, 1, 60, 150})
                evaluator->evaluate(x.data(), replicas, 1.0, 1.0, forces.data());
            CHECK(allocations.count() == 0);
        }
}

TEST(workspace_holds_one_block_of_replicas_for_each_thread_however_many_there_are) {
    for (const Named& named : models())
        for (const int threads : {1, 4}) {
            const std::vector<double> x = frames(named.model.beads(), 300, 23);
            std::vector<double> forces(x.size());
            const auto workspaceFor = [&](int replicas) {
                const auto evaluator = make(named.model, Precision::Single, "", threads);
                evaluator->evaluate(x.data(), 1, 1.0, 1.0, forces.data());  // the threads have their own memory
                const Allocations allocations;
                evaluator->evaluate(x.data(), replicas, 1.0, 1.0, forces.data());
                if (threads == 1)
                    CHECK(allocations.peakBytes() < evaluator->workspaceBytes() + 10000);
                return evaluator->workspaceBytes();
            };
            const std::size_t ofOne = workspaceFor(1);
            for (const int replicas : {2, 30, 300}) {
                const std::size_t energies = 2 * sizeof(double) * static_cast<std::size_t>(replicas),
                                  most = 64 * static_cast<std::size_t>(threads);
                CHECK(workspaceFor(replicas) <= energies + std::min(static_cast<std::size_t>(replicas), most) * ofOne);
            }
        }
}

TEST(a_large_model_takes_its_weights_and_less_than_a_megabyte_beside_the_workspace) {
    const ModelText text = randomGraphTransformer({28, 128, 3, 16});
    const ModelFile model = text.parse();
    const std::vector<double> x = frames(model.beads(), 1, 24);
    std::vector<double> forces(x.size());
    const Allocations allocations;
    const auto evaluator = make(model, Precision::Single);
    evaluator->evaluate(x.data(), 1, 1.0, 1.0, forces.data());
    CHECK(allocations.bytesInUse() < text.weights.size() + evaluator->workspaceBytes() + 1000000);
}

TEST(no_replicas_have_no_energy) {
    const Result result = evaluate(*make(models()[0].model, Precision::Single), {});
    CHECK(result.energy.network == 0.0 && result.energy.prior == 0.0);
}

TEST(evaluator_refuses_what_it_does_not_know) {
    CHECK(evaluatorSupports("internal") && evaluatorSupports("graph_transformer") && !evaluatorSupports("mlp"));
    ModelText text = randomInternal({});
    CHECK_THROWS(make(text.parse(), Precision::Single, "", -1), ModelError, "threads");
    const std::string kind = "\"kind\": \"internal\"";
    text.description.replace(text.description.find(kind), kind.size(), "\"kind\": \"mlp\"");
    CHECK_THROWS(make(text.parse(), Precision::Single), ModelError, "'mlp'");
}
