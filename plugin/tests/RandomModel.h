#ifndef FPFORCE_TESTS_RANDOM_MODEL_H_
#define FPFORCE_TESTS_RANDOM_MODEL_H_

/**
 * Force fields with random weights, as the two entries of model.pt, so that no test needs a file. The beads form a chain;
 * pair statistics and prior are those of a random walk with stiff bonds, so that energies have the sizes of real ones.
 */

#include <cstdint>
#include <string>
#include <vector>

#include "model/ModelFile.h"

namespace FPForcePlugin {

/** Random numbers that are the same everywhere (SplitMix64). */
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {
    }
    std::uint64_t bits();
    /** A whole number in [0, count). */
    std::size_t below(std::size_t count);
    /** Uniform in [0, 1). */
    double uniform();
    double normal();
    std::vector<double> normals(std::size_t count, double scale);

private:
    std::uint64_t state_;
};

/** Builds the bytes of a safetensors file. */
class WeightsWriter {
public:
    /** Adds a tensor; type is F32, F64, I32 or I64. */
    void add(const std::string& name, const std::vector<std::int64_t>& shape, const std::vector<double>& values,
             const std::string& type = "F32");
    std::string bytes() const;

private:
    std::string header_, data_;
};

/** A header of a safetensors file with its length in front, and the data behind. */
std::string safetensorsFile(const std::string& header, const std::string& data);

struct ModelText {
    std::string description, weights;
    ModelFile parse() const {
        return ModelFile::parse(description, weights);
    }
};

struct ModelShape {
    int beads = 5, width = 32, layers = 2;
    int headWidth = 16;  // graph_transformer only
    bool prior = true;
    std::uint64_t seed = 1;
    bool wall = false;  // of beads at least three apart, reaching far enough to act on most random frames
    bool volumes = true;  // `internal` only
    int window = 0, windowWidth = 8;  // the same; beads of a stretch with an energy of its own, none where it is 0
};

ModelText randomInternal(const ModelShape& shape);
/** shape.width must be a multiple of shape.headWidth. */
ModelText randomGraphTransformer(const ModelShape& shape);

/** A random chain of beads (beads x 3, nm) of the kind these models describe. */
std::vector<double> randomFrame(int beads, Random& random);

}  // namespace FPForcePlugin

#endif
