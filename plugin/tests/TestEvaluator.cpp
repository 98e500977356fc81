/** Evaluator: energies and forces of every kind of model, in both precisions, on every instruction set of the machine. */

#include <algorithm>
#include <cmath>
#include <functional>

#include "Check.h"
#include "EvaluatorTools.h"
#include "ModelError.h"
#include "RandomModel.h"

using namespace FPForcePlugin;

namespace {

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

std::size_t headerLength(const std::string& weights) {
    std::size_t length = 0;
    for (std::size_t i = 8; i-- > 0;)
        length = 256 * length + static_cast<unsigned char>(weights[i]);
    return length;
}

/** The model with this tensor under another name. */
ModelText without(ModelText text, const std::string& name) {
    text.weights.replace(text.weights.find('"' + name + '"') + 1, 1, "-");
    return text;
}

/** The model with another tensor of this name. */
ModelText replaced(const ModelText& model, const std::string& name, const std::vector<std::int64_t>& shape,
                   const std::vector<double>& values, const std::string& type = "F32") {
    WeightsWriter alone;
    alone.add("other", shape, values, type);
    const std::string own = alone.bytes(), added = own.substr(8 + headerLength(own));
    ModelText text = without(model, name);
    const std::size_t length = headerLength(text.weights);
    const std::string data = text.weights.substr(8 + length);
    std::string sizes;
    for (const std::int64_t size : shape)
        sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    const std::string entry = ",\"" + name + R"(":{"dtype":")" + type + R"(","shape":[)" + sizes + R"(],"data_offsets":[)" +
                              std::to_string(data.size()) + "," + std::to_string(data.size() + added.size()) + "]}}";
    text.weights = safetensorsFile(text.weights.substr(8, length - 1) + entry, data + added);
    return text;
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
        if (model.hasTensor("prior.radius") || model.has("wall"))
            CHECK_CLOSE(deviation(prior.forces, priorForces), 0.0, 1e-6);
        else
            CHECK(rootMeanSquare(prior.forces) == 0.0 && prior.energy.prior == 0.0);
    });
}

TEST(wall_is_the_sum_over_pairs_below_their_distance) {
    const ModelFile model = randomGraphTransformer({8, 8, 1, 8, false, 3, true}).parse();
    const std::vector<double>& distance = model.tensor("wall.distance_nm", {-1}).values;
    for (const std::string& isa : instructionSets())
        for (const double spread : {1.0, 3.0}) {  // stretched threefold, no pair is within its wall
            std::vector<double> x = frames(8, 1, 5);
            for (double& component : x)
                component *= spread;
            double wanted = 0.0;
            std::size_t pair = 0;
            for (std::size_t i = 0; i < 8; ++i)
                for (std::size_t j = i + 3; j < 8; ++j, ++pair) {
                    double square = 0.0;
                    for (std::size_t axis = 0; axis < 3; ++axis)
                        square += (x[3 * i + axis] - x[3 * j + axis]) * (x[3 * i + axis] - x[3 * j + axis]);
                    const double depth = std::max(1.0 - std::sqrt(square) / distance[pair], 0.0);
                    wanted += 1000.0 * kT * depth * depth * depth;
                }
            CHECK((wanted > 0.0) == (spread == 1.0));
            const Result found = evaluate(*make(model, Precision::Single, isa, 1, Terms::Prior), x);
            CHECK_CLOSE(found.energy.prior, wanted, 1e-9 * (1.0 + wanted));
            CHECK((rootMeanSquare(found.forces) > 0.0) == (wanted > 0.0));
        }
}

TEST(a_wall_that_is_not_whole_is_refused) {
    const auto refuses = [](ModelText text, const std::string& from, const std::string& to, const std::string& part) {
        text.description.replace(text.description.find(from), from.size(), to);
        CHECK_THROWS(make(text.parse(), Precision::Single), ModelError, part);
    };
    const ModelText with = randomInternal({6, 8, 1, 16, true, 1, true}), without = randomInternal({6, 8, 1, 16, true, 1, false});
    refuses(with, R"("wall": {"height_kt": 1000.0})", R"("fence": 1)", "wall.height_kt is absent");
    refuses(with, "1000.0", "-1.0", "wall.height_kt is -1, expected a number from 0");
    refuses(without, R"("format_version": 6)", R"("format_version": 6, "wall": {"height_kt": 1.0})", "tensor 'wall.first' is missing");
}

TEST(series_of_dihedrals_and_angles_are_part_of_the_network_and_are_read_whole) {
    const ModelText with = randomInternal({7, 8, 1});
    const std::vector<double> x = frames(7, 1, 5);
    const double here = evaluate(*make(with.parse(), Precision::Double), x).energy.network;
    const auto changed = [&](const std::string& from, const std::string& to) {
        ModelText text = with;
        text.description.replace(text.description.find(from), from.size(), to);
        return text;
    };
    const ModelText other = changed(R"("series_delta": 0.01)", R"("series_delta": 0.5)");
    CHECK(std::abs(evaluate(*make(other.parse(), Precision::Double), x).energy.network - here) > 1e-3);
    CHECK_THROWS(make(changed(R"("series_delta": 0.01)", R"("series_beta": 0.01)").parse(), Precision::Single), ModelError,
                 "model.constants.series_delta is absent");
    const ModelText none = randomInternal({7, 8, 1, 16, true, 1, false, false});
    ModelText promised = none;
    promised.description.replace(promised.description.find(R"("model": {)"), 10, R"("model": {"series": true, )");
    CHECK_THROWS(make(promised.parse(), Precision::Single), ModelError, "tensor 'network.series.weights' is missing");
}

TEST(series_of_pair_distances_are_part_of_the_network_and_are_read_whole) {
    const ModelText with = randomInternal({7, 8, 1});
    const std::vector<double> x = frames(7, 1, 5);
    const double here = evaluate(*make(with.parse(), Precision::Double), x).energy.network;
    const auto renamed = [&](const std::string& from, const std::string& to) {
        ModelText text = with;
        for (std::size_t at = text.weights.find(from); at != std::string::npos; at = text.weights.find(from))
            text.weights.replace(at, from.size(), to);
        return text;
    };
    const ModelText without = renamed("network.pair_series", "network.some_series");
    CHECK(std::abs(evaluate(*make(without.parse(), Precision::Double), x).energy.network - here) > 1e-3);
    CHECK_THROWS(make(renamed("network.series.weights", "network.sorrow.weights").parse(), Precision::Single), ModelError,
                 "network.pair_series is there and network.series is not");
    CHECK_THROWS(make(renamed("pair_series.centres", "pair_series.corners").parse(), Precision::Single), ModelError,
                 "tensor 'network.pair_series.centres' is missing");
    ModelText promised = without;
    promised.description.replace(promised.description.find(R"("model": {)"), 10, R"("model": {"pair_series": true, )");
    CHECK_THROWS(make(promised.parse(), Precision::Single), ModelError, "tensor 'network.pair_series");

    // The first two of its pairs are (0, 1) and (0, 3); a pair twice, one that is an angle, and one of a bead with itself are none.
    const auto bytes = [](std::initializer_list<char> numbers) {
        std::string all;
        for (const char number : numbers)
            all += std::string(1, number) + std::string(7, '\0');
        return all;
    };
    const std::string pairs = bytes({0, 1, 0, 3});
    CHECK(with.weights.find(pairs) != std::string::npos);
    for (const std::string& other : {bytes({0, 1, 0, 1}), bytes({0, 2, 0, 3}), bytes({0, 0, 0, 3}), bytes({1, 0, 0, 3})}) {
        ModelText text = with;
        text.weights.replace(text.weights.find(pairs), pairs.size(), other);
        CHECK_THROWS(make(text.parse(), Precision::Single), ModelError, "network.pair_series has pair ");
    }
}

TEST(windows_are_part_of_the_network_and_are_read_whole) {
    const ModelText with = randomInternal({8, 8, 2, 16, true, 1, false, true, 5, 6});  // four stretches of 28 inputs each
    const std::vector<double> x = frames(8, 1, 5);
    const double here = evaluate(*make(with.parse(), Precision::Double), x).energy.network;
    const auto valued = [&](const ModelText& text) { return evaluate(*make(text.parse(), Precision::Double), x).energy.network; };
    CHECK(std::abs(valued(without(with, "network.windows.out")) - here) > 1e-3);
    CHECK(valued(replaced(with, "network.windows.out", {4, 6}, std::vector<double>(24))) == valued(without(with, "network.windows.out")));

    const std::vector<double> inputs = with.parse().tensor("network.windows.inputs", {4, 28}).values;
    CHECK(valued(replaced(with, "network.windows.inputs", {4, 28}, inputs, "I64")) == here);
    std::vector<double> other = inputs;
    std::swap(other[0], other[27]);  // of the first stretch, a distance and a dihedral
    CHECK(std::abs(valued(replaced(with, "network.windows.inputs", {4, 28}, other, "I64")) - here) > 1e-4);
}

TEST(windows_see_no_noise_before_their_earliest_time) {
    const ModelText with = randomInternal({8, 8, 2, 16, true, 1, false, true, 5, 6});
    const std::vector<double> x = frames(8, 1, 5);
    const auto at = [&](double earliest) {
        const ModelText text = replaced(with, "network.windows.earliest", {1}, std::vector<double>{earliest});
        return evaluate(*make(text.parse(), Precision::Double), x).energy.network;
    };
    const double own = 0.02;  // of the large network's features in a random model
    CHECK(std::abs(at(0.05) - at(own)) > 1e-3);
    CHECK(at(0.0) == at(own));
    for (const double wrong : {-0.1, 1.5})
        CHECK_THROWS(at(wrong), ModelError, "network.windows.earliest is ");
}

TEST(windows_that_do_not_fit_are_refused) {
    const ModelText with = randomInternal({8, 8, 2, 16, true, 1, false, true, 5, 6});
    const std::string name = "network.windows.";
    const auto refuses = [](const ModelText& text, const std::string& part) {
        CHECK_THROWS(make(text.parse(), Precision::Single), ModelError, part);
    };
    for (const std::string tensor : {"inputs", "earliest", "places", "hidden.0.weight", "hidden.1.bias", "conditions.0.weight", "gate.bias"})
        refuses(without(with, name + tensor), "tensor '" + name + tensor + "' is missing");
    ModelText promised = without(with, name + "out");
    promised.description.replace(promised.description.find(R"("model": {)"), 10, R"("model": {"windows": true, )");
    refuses(promised, "tensor 'network.windows.out' is missing");

    const std::vector<double> inputs = with.parse().tensor(name + "inputs", {4, 28}).values;
    for (const double wrong : {-1.0, 82.0, 0.5}) {  // 2 x 28 of pairs, 4 x 5 of dihedrals and 6 of volumes are features
        std::vector<double> values = inputs;
        values[30] = wrong;
        refuses(replaced(with, name + "inputs", {4, 28}, values, "F64"), "expected whole numbers from 0 to 81");
    }
    refuses(replaced(with, name + "inputs", {4, 27}, std::vector<double>(108), "I64"), name + "hidden.0.weight' has shape");
    refuses(replaced(with, name + "inputs", {5, 28}, std::vector<double>(140), "I64"), name + "inputs' has shape");
    refuses(replaced(with, name + "inputs", {4, 0}, {}, "I64"), "has no inputs or no neurons");
    refuses(replaced(with, name + "out", {4, 7}, std::vector<double>(28)), name + "places' has shape");
    refuses(replaced(with, name + "out", {3, 6}, std::vector<double>(18)), name + "inputs' has shape");
    refuses(replaced(with, name + "out", {24}, std::vector<double>(24)), name + "out' has shape");
    refuses(replaced(with, name + "out", {4, 0}, {}), "has no inputs or no neurons");
    refuses(replaced(with, name + "out", {0, 6}, {}), name + "inputs' has shape");
    refuses(replaced(replaced(with, name + "out", {0, 6}, {}), name + "inputs", {0, 28}, {}, "I64"), "has no inputs or no neurons");
    refuses(replaced(with, name + "places", {3, 4, 6}, std::vector<double>(72)), name + "places' has shape");
    refuses(replaced(with, name + "hidden.1.weight", {6, 7}, std::vector<double>(42)), name + "hidden.1.weight' has shape");
    refuses(replaced(with, name + "gate.weight", {6, 4}, std::vector<double>(24)), name + "gate.weight' has shape");
}

TEST(volumes_tell_mirror_images_apart_and_are_read_where_the_settings_say_so) {
    const ModelText with = randomInternal({6, 8, 1}), without = randomInternal({6, 8, 1, 16, true, 1, false, false});
    std::vector<double> x = frames(6, 1, 5);
    const double here = evaluate(*make(with.parse(), Precision::Double), x).energy.network;
    for (std::size_t i = 0; i < x.size(); i += 3)
        x[i] = -x[i];
    CHECK(std::abs(evaluate(*make(with.parse(), Precision::Double), x).energy.network - here) > 1e-3);
    const auto refuses = [](ModelText text, const std::string& from, const std::string& to, const std::string& part) {
        text.description.replace(text.description.find(from), from.size(), to);
        CHECK_THROWS(make(text.parse(), Precision::Single), ModelError, part);
    };
    refuses(with, R"("volumes": true)", R"("volumes": false)", "network.hidden.0.weight");
    refuses(without, R"("prior": true)", R"("prior": true, "volumes": true)", "network.coordinates.volumes");
    refuses(with, R"("smooth_arm": 0.45, "noise_arm": 1.4)", R"("smooth_arm": 0.0, "noise_arm": 0.0)", "divide what may be 0");
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

TEST(evaluator_refuses_what_it_does_not_know) {
    CHECK(evaluatorSupports("internal") && evaluatorSupports("graph_transformer") && !evaluatorSupports("mlp"));
    ModelText text = randomInternal({});
    CHECK_THROWS(make(text.parse(), Precision::Single, "", -1), ModelError, "threads");
    const std::string kind = "\"kind\": \"internal\"";
    text.description.replace(text.description.find(kind), kind.size(), "\"kind\": \"mlp\"");
    CHECK_THROWS(make(text.parse(), Precision::Single), ModelError, "'mlp'");
}
