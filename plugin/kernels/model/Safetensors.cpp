#include "Safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "../ModelError.h"
#include "Json.h"

namespace FPForcePlugin {

namespace {

/** Bytes per element, 0 for an unknown type. */
std::uint64_t itemSize(const std::string& type) {
    static const struct {
        const char* type;
        std::uint64_t bytes;
    } known[] = {{"F64", 8}, {"I64", 8},  {"U64", 8},     {"F32", 4},     {"I32", 4}, {"U32", 4}, {"F16", 2}, {"I16", 2},
                 {"U16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
    for (const auto& candidate : known)
        if (type == candidate.type)
            return candidate.bytes;
    return 0;
}

/** An unsigned or two's-complement integer of the file's byte order, whatever the machine's. */
template <class Unsigned>
Unsigned littleEndian(const char* bytes) {
    Unsigned value = 0;
    for (std::size_t i = sizeof(Unsigned); i-- > 0;)
        value = static_cast<Unsigned>(value << 8 | static_cast<unsigned char>(bytes[i]));
    return value;
}

/** Elements stored as Element, a type with the bits of Unsigned. */
template <class Element, class Unsigned>
std::vector<double> widened(std::string_view bytes) {
    static_assert(sizeof(Element) == sizeof(Unsigned), "one is read as the other");
    std::vector<double> values(bytes.size() / sizeof(Element));
    for (std::size_t i = 0; i < values.size(); ++i) {
        const Unsigned bits = littleEndian<Unsigned>(bytes.data() + i * sizeof(Element));
        Element element;
        std::memcpy(&element, &bits, sizeof element);
        values[i] = static_cast<double>(element);
    }
    return values;
}

[[noreturn]] void fail(const std::string& what) {
    throw ModelError(what + "; export the model again");
}

/** The member `name` of a tensor's description, null if there is none. */
const Json* memberOf(const Json& tensor, const char* name) {
    const auto found = tensor.find(name);
    return found == tensor.end() ? nullptr : &*found;
}

std::vector<std::int64_t> sizes(const Json& tensor, const char* name, std::uint64_t largest, const std::string& place) {
    constexpr std::size_t mostSizes = 8;
    const Json* array = memberOf(tensor, name);
    if (array == nullptr || !array->is_array())
        fail(place + " has " + name + " " + typeName(array) + ", expected an array");
    if (array->size() > mostSizes)
        fail(place + " has " + name + " with more than " + std::to_string(mostSizes) + " elements");
    std::vector<std::int64_t> numbers;
    for (const Json& element : *array) {
        if (!element.is_number_unsigned() || element.get<std::uint64_t>() > largest)
            fail(place + " has " + name + " with an element that is no whole number from 0 to " + std::to_string(largest));
        numbers.push_back(element.get<std::int64_t>());
    }
    return numbers;
}

/** Whether elements of `itemBytes` in this shape take so many bytes, by division, which cannot overflow. */
bool fills(std::uint64_t bytes, const std::vector<std::int64_t>& shape, std::uint64_t itemBytes) {
    if (std::find(shape.begin(), shape.end(), 0) != shape.end())
        return bytes == 0;
    bool whole = bytes % itemBytes == 0;
    bytes /= itemBytes;
    for (const std::int64_t size : shape) {
        whole = whole && bytes % static_cast<std::uint64_t>(size) == 0;
        bytes /= static_cast<std::uint64_t>(size);
    }
    return whole && bytes == 1;
}

/** The tensor that a member of the header describes; its bytes are a view of `data`. */
StoredTensor readTensor(const Json& json, std::string_view data, const std::string& place) {
    StoredTensor tensor;
    if (const Json* type = memberOf(json, "dtype"); type != nullptr && type->is_string())
        tensor.type = type->get<std::string>();
    if (itemSize(tensor.type) == 0)
        fail(place + " has the unknown type " + inQuotes(tensor.type));
    tensor.shape = sizes(json, "shape", std::numeric_limits<int>::max(), place);
    const std::vector<std::int64_t> range = sizes(json, "data_offsets", std::numeric_limits<std::int64_t>::max(), place);
    if (range.size() != 2)
        fail(place + " has " + std::to_string(range.size()) + " data_offsets, expected 2");
    if (range[0] > range[1] || static_cast<std::uint64_t>(range[1]) > data.size())
        fail(place + " lies at bytes " + std::to_string(range[0]) + " to " + std::to_string(range[1]) + " of " +
             std::to_string(data.size()) + " bytes of data");
    tensor.bytes = data.substr(static_cast<std::size_t>(range[0]), static_cast<std::size_t>(range[1] - range[0]));
    if (!fills(tensor.bytes.size(), tensor.shape, itemSize(tensor.type)))
        fail(place + " has " + std::to_string(tensor.bytes.size()) + " bytes, which its type " + tensor.type +
             " and its shape do not give");
    return tensor;
}

/** Throws unless the tensors fill the data, one behind the other, from its first byte to its last. */
void checkCoverage(const std::map<std::string, StoredTensor>& tensors, std::string_view data, const std::string& entry) {
    std::vector<const std::pair<const std::string, StoredTensor>*> order;
    for (const auto& named : tensors)
        order.push_back(&named);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
        const auto key = [](const StoredTensor& tensor) { return std::pair(tensor.bytes.data(), tensor.bytes.size()); };
        return key(a->second) < key(b->second);
    });
    const char* end = data.data();
    for (const auto* named : order) {
        if (named->second.bytes.data() != end)
            fail(entry + ": tensor " + inQuotes(named->first) + " does not begin where the one before it ends");
        end += named->second.bytes.size();
    }
    if (end != data.data() + data.size())
        fail(entry + " has " + std::to_string(data.data() + data.size() - end) + " bytes after its last tensor");
}

}  // namespace

bool StoredTensor::isConvertible() const {
    return type == "F32" || type == "F64" || type == "I32" || type == "I64";
}

std::vector<double> StoredTensor::toDoubles() const {
    if (type == "F32")
        return widened<float, std::uint32_t>(bytes);
    if (type == "F64")
        return widened<double, std::uint64_t>(bytes);
    if (type == "I32")
        return widened<std::int32_t, std::uint32_t>(bytes);
    if (type == "I64")
        return widened<std::int64_t, std::uint64_t>(bytes);
    return {};
}

std::map<std::string, StoredTensor> readSafetensors(std::string_view file, const std::string& entry) {
    constexpr std::size_t prefix = 8;
    if (file.size() < prefix)
        fail(entry + " has " + std::to_string(file.size()) + " bytes, fewer than the 8 that give its header's length");
    const std::uint64_t length = littleEndian<std::uint64_t>(file.data());
    if (length > file.size() - prefix)
        fail(entry + " says that its header has " + std::to_string(length) + " bytes, but has " + std::to_string(file.size()) + " in all");
    const Json header = readJson(file.substr(prefix, static_cast<std::size_t>(length)), entry + "'s header");
    if (!header.is_object())
        fail(entry + "'s header is " + typeName(&header) + ", expected an object");
    const std::string_view data = file.substr(prefix + static_cast<std::size_t>(length));
    std::map<std::string, StoredTensor> tensors;
    for (const auto& [name, json] : header.items())
        if (name != "__metadata__")
            tensors[name] = readTensor(json, data, entry + ": tensor " + inQuotes(name));
    checkCoverage(tensors, data, entry);
    return tensors;
}

}  // namespace FPForcePlugin
