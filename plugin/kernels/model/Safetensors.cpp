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

/** Reads one member of the header; the tensor's bytes are views of `data`. */
class HeaderMember {
public:
    HeaderMember(std::string place, const Json& json) : place_(std::move(place)), json_(json) {
    }

    StoredTensor read(std::string_view data) const {
        StoredTensor tensor;
        tensor.type = json_.member("dtype").toText();
        const std::uint64_t size = itemSize(tensor.type);
        if (size == 0)
            fail("has the unknown type " + quoted(tensor.type));
        tensor.shape = sizes("shape", std::numeric_limits<int>::max());
        const std::vector<std::int64_t> range = sizes("data_offsets", std::numeric_limits<std::int64_t>::max());
        if (range.size() != 2)
            fail("has " + std::to_string(range.size()) + " data_offsets, expected 2");
        if (range[0] > range[1] || static_cast<std::uint64_t>(range[1]) > data.size())
            fail("lies at bytes " + std::to_string(range[0]) + " to " + std::to_string(range[1]) + " of " + std::to_string(data.size()) +
                 " bytes of data");
        tensor.bytes = data.substr(static_cast<std::size_t>(range[0]), static_cast<std::size_t>(range[1] - range[0]));
        if (!fills(tensor, size))
            fail("has " + std::to_string(tensor.bytes.size()) + " bytes, which its type " + tensor.type + " and its shape do not give");
        return tensor;
    }

    [[noreturn]] void fail(const std::string& what) const {
        throw ModelError(place_ + " " + what + "; export the model again");
    }

private:
    static constexpr std::size_t mostSizes = 8;

    std::vector<std::int64_t> sizes(const char* name, std::int64_t largest) const {
        const Json array = json_.member(name);
        if (array.type() != Json::Type::Array)
            fail("has " + std::string(name) + " " + array.typeName() + ", expected an array");
        std::vector<std::int64_t> numbers;
        array.forEachElement([&](const Json& element) {
            std::int64_t number = -1;
            if (!element.toInteger(number) || number < 0 || number > largest)
                fail("has " + std::string(name) + " with an element that is no whole number from 0 to " + std::to_string(largest));
            if (numbers.size() == mostSizes)
                fail("has " + std::string(name) + " with more than " + std::to_string(mostSizes) + " elements");
            numbers.push_back(number);
        });
        return numbers;
    }

    /** Whether the bytes are as many as the shape says, by division, which cannot overflow. */
    static bool fills(const StoredTensor& tensor, std::uint64_t itemBytes) {
        if (std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end())
            return tensor.bytes.empty();
        std::uint64_t rest = tensor.bytes.size();
        std::uint64_t divisor = itemBytes;
        for (std::size_t axis = 0;; divisor = static_cast<std::uint64_t>(tensor.shape[axis++])) {
            if (rest % divisor != 0)
                return false;
            rest /= divisor;
            if (axis == tensor.shape.size())
                return rest == 1;
        }
    }

    const std::string place_;
    const Json json_;
};

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
            throw ModelError(entry + ": tensor " + quoted(named->first) +
                             " does not begin where the one before it ends; export the model again");
        end += named->second.bytes.size();
    }
    if (end != data.data() + data.size())
        throw ModelError(entry + " has " + std::to_string(data.data() + data.size() - end) +
                         " bytes after its last tensor; export the model again");
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
        throw ModelError(entry + " has " + std::to_string(file.size()) +
                         " bytes, fewer than the 8 that give its header's length; export the model again");
    const std::uint64_t length = littleEndian<std::uint64_t>(file.data());
    if (length > file.size() - prefix)
        throw ModelError(entry + " says that its header has " + std::to_string(length) + " bytes, but has " + std::to_string(file.size()) +
                         " in all; export the model again");
    const Json header = Json::parse(file.substr(prefix, static_cast<std::size_t>(length)), entry + "'s header");
    if (header.type() != Json::Type::Object)
        throw ModelError(entry + "'s header is " + header.typeName() + ", expected an object; export the model again");
    const std::string_view data = file.substr(prefix + static_cast<std::size_t>(length));
    std::map<std::string, StoredTensor> tensors;
    header.forEachMember([&](const std::string& name, const Json& json) {
        if (name == "__metadata__")
            return;
        const HeaderMember member(entry + ": tensor " + quoted(name), json);
        if (!tensors.emplace(name, member.read(data)).second)
            member.fail("is described twice");
    });
    checkCoverage(tensors, data, entry);
    return tensors;
}

}  // namespace FPForcePlugin
