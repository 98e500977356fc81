#ifndef FPFORCE_MODEL_SAFETENSORS_H_
#define FPFORCE_MODEL_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace FPForcePlugin {

/** One tensor in a safetensors file: what it is, and where its bytes (little-endian, row-major) lie, at any alignment. */
struct StoredTensor {
    std::string type;  // as the file calls it: "F32", "I64", ...
    std::vector<std::int64_t> shape;
    std::string_view bytes;

    /** Whether `toDoubles` knows the type: F32, F64, I32 or I64. */
    bool isConvertible() const;
    /** The elements, widened to double; empty for a type that is not convertible. */
    std::vector<double> toDoubles() const;
};

/**
 * The tensors of a safetensors file by name. The views end with `file`.
 *
 * Layout: 8 bytes with the length of a JSON header, the header, the data. Throws ModelError, naming `entry` and the
 * tensor, unless types are known, shapes have at most 8 sizes that fit into an int, types and shapes agree with the
 * number of bytes, and the tensors fill the data without gap or overlap.
 */
std::map<std::string, StoredTensor> readSafetensors(std::string_view file, const std::string& entry);

}  // namespace FPForcePlugin

#endif
