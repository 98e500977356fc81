/** Evaluator: many replicas at once, their independence of each other, their threads and their memory. */

#include <algorithm>
#include <cmath>
#include <limits>

#include "Allocations.h"
#include "Check.h"
#include "EvaluatorTools.h"
#include "RandomModel.h"

using namespace FPForcePlugin;

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
                // Eight replicas or more are cut into eights, of which every thread has whole ones.
                const int eights = 8 * threads * ((replicas + 8 * threads - 1) / (8 * threads));
                const std::size_t held = static_cast<std::size_t>(replicas < 8 ? replicas : eights);
                CHECK(workspaceFor(replicas) <= energies + std::min(held, most) * ofOne);
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
