#ifndef FPFORCE_MODEL_FILE_H_
#define FPFORCE_MODEL_FILE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace FPForcePlugin {

/** One array of the weights, row-major, widened to double whatever it was stored as. */
struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<double> values;
};

/**
 * A force field as it lies in model.pt: the description (fpforce.json) and the weights (fpforce.safetensors).
 *
 * Both come from files that anyone may have written. Every query therefore says what it expects, and throws a
 * ModelError that names the entry, the value found and the value wanted, if the file says otherwise. A path leads
 * through nested objects of fpforce.json, its names joined by dots: "model.constants.smooth_length".
 */
class ModelFile {
public:
    /**
     * description: the text of fpforce.json; entries that nobody asks for are ignored. weights: the bytes of
     * fpforce.safetensors. Neither is referred to afterwards. Throws ModelError unless both are well formed; what is
     * allocated is bounded by a small multiple of their sizes.
     */
    static ModelFile parse(std::string_view description, std::string_view weights);

    /** Name of the energy model, such as "internal". */
    std::string kind() const;
    /** Number of beads of one replica, >= 1. */
    int beads() const;
    /** Length in nm by which centred positions are divided before they enter the network; > 0. */
    double scaleNm() const;
    /** kT in kJ/mol at the temperature of the training data; > 0. */
    double ktKjPerMol() const;
    /** Diffusion time at which the energy is evaluated, 0 < t <= 1. */
    double tEval() const;

    /** Whether something other than null lies at the path. */
    bool has(const std::string& path) const;
    /** A finite number in [low, high]. */
    double number(const std::string& path, double low, double high) const;
    /** A whole number in [low, high]. */
    int integer(const std::string& path, int low, int high) const;
    bool flag(const std::string& path) const;
    std::string text(const std::string& path) const;

    /** Whether the weights have this tensor; names are those of the state_dict ("network.hidden.0.weight"). */
    bool hasTensor(const std::string& name) const;
    /** A tensor of finite values; sizes of -1 in `shape` match any. The reference lives as long as this ModelFile. */
    const Tensor& tensor(const std::string& name, const std::vector<std::int64_t>& shape) const;
    /** The values of a tensor, whole numbers in [low, high]. */
    std::vector<int> indices(const std::string& name, const std::vector<std::int64_t>& shape, int low, int high) const;

private:
    /** What the weights hold under one name; the values are missing if their type is not convertible. */
    struct Stored {
        std::string type;
        bool convertible;
        Tensor tensor;
    };
    struct Description;
    ModelFile() = default;

    std::shared_ptr<const Description> description_;
    std::map<std::string, Stored> tensors_;
    int beads_ = 0;
};

}  // namespace FPForcePlugin

#endif
