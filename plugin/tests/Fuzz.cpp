/**
 * Fuzzing of the model reader and of everything that trusts it: damaged models are read, made into an Evaluator and evaluated.
 *
 *     fuzz_model [cases = 20000] [seed = 1] [first case = 0]
 *
 * Each case starts from a valid small model and damages its description, its weights' header or its weights' data, or puts
 * something else in their place. It passes if it is evaluated, or if a ModelError names the entry at fault, within a bound
 * on memory and time. Case i of a seed is the same whatever ran before it, so a failure can be repeated alone.
 */

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "Allocations.h"
#include "Evaluator.h"
#include "ModelError.h"
#include "RandomModel.h"

using namespace FPForcePlugin;

namespace {

/** Texts that stand where something else was expected. */
const std::vector<std::string>& strangers() {
    static const std::vector<std::string> texts = {"-1",
                                                   "0",
                                                   "1",
                                                   "2",
                                                   "0.5",
                                                   "-0",
                                                   "1e308",
                                                   "-1e308",
                                                   "1e-308",
                                                   "1e999",
                                                   "2147483647",
                                                   "2147483648",
                                                   "4294967296",
                                                   "4611686018427387904",
                                                   "9223372036854775807",
                                                   "18446744073709551615",
                                                   "1e30",
                                                   "NaN",
                                                   "Infinity",
                                                   "null",
                                                   "true",
                                                   "\"\"",
                                                   "\"F64\"",
                                                   "\"I64\"",
                                                   "\"F16\"",
                                                   "\"internal\"",
                                                   "\"graph_transformer\"",
                                                   "[]",
                                                   "[0]",
                                                   "[-1]",
                                                   "[4611686018427387904]",
                                                   "[[[]]]",
                                                   "{}",
                                                   "{\"a\":{}}",
                                                   "\"\\ud800\"",
                                                   std::string(200, '['),
                                                   std::string(3000, '{')};
    return texts;
}

/** A literal with all its bytes, zeros too. */
template <std::size_t Size>
std::string bytes(const char (&literal)[Size]) {
    return std::string(literal, Size - 1);
}

/** Files of other formats, and no file at all. */
const std::vector<std::string>& otherFormats() {
    static const std::vector<std::string> files = {
        "",
        std::string(64, '\0'),
        std::string(64, '\xFF'),
        bytes("PK\x03\x04\x14\0\0\0\0\0") + std::string(90, 'x'),
        "<?xml version=\"1.0\" ?>\n<Force type=\"FPForce\" version=\"1\"/>\n",
        bytes("\x80\x02}q\0(X\5\0\0\0modelq\1K\1u."),
        bytes("\x89HDF\r\n\x1a\n\0\0\0\0"),
        "{\"format\": \"fpforce\"}",
        "[1, 2, 3]",
        "format: fpforce\nversion: 1\n",
        std::string(5000, '{'),
        bytes("\2\0\0\0\0\0\0\0{}"),
    };
    return files;
}

const std::string& anyOf(const std::vector<std::string>& list, Random& random) {
    return list[random.below(list.size())];
}

/** Flips bits, and copies, removes or inserts pieces. */
void damageBytes(std::string& bytes, Random& random) {
    if (bytes.empty())
        return;
    const std::size_t at = random.below(bytes.size()), length = 1 + random.below(std::min<std::size_t>(bytes.size() - at, 64));
    switch (random.below(6)) {
        case 0:  // truncation, near an end or anywhere
            bytes.resize(random.below(2) == 0   ? at
                         : random.below(2) == 0 ? std::min<std::size_t>(bytes.size(), random.below(20))
                                                : bytes.size() - std::min(bytes.size(), random.below(20)));
            break;
        case 1:
            bytes.erase(at, length);
            break;
        case 2:
            bytes.insert(at, bytes.substr(random.below(bytes.size()), length));
            break;
        case 3:
            bytes.insert(at, std::string(random.below(100), static_cast<char>(random.below(256))));
            break;
        default:
            for (std::size_t flips = 1 + random.below(8); flips > 0; --flips)
                bytes[random.below(bytes.size())] ^= static_cast<char>(1 << random.below(8));
    }
}

/** Replaces, repeats or removes one number, string or word of a JSON text. */
void damageJson(std::string& text, Random& random) {
    const char* const ends = " ,:[]{}\n";
    const std::size_t start = text.empty() ? std::string::npos : text.find_first_not_of(ends, random.below(text.size()));
    if (start == std::string::npos)
        return damageBytes(text, random);
    const std::size_t length = std::min(text.find_first_of(ends, start), text.size()) - start;
    const std::string token = text.substr(start, length);
    switch (random.below(4)) {
        case 0:
            text.erase(start, length);
            break;
        case 1:
            text.insert(start, token + (random.below(2) == 0 ? "," : ":"));
            break;
        default:
            text.replace(start, length, anyOf(strangers(), random));
    }
}

std::uint64_t headerLength(const std::string& weights) {
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < 8; ++i)
        length |= static_cast<std::uint64_t>(static_cast<unsigned char>(weights[i])) << (8 * i);
    return length;
}

/** Puts numbers that are not finite, huge, tiny or of other bits among the values. */
void damageValues(std::string& data, Random& random) {
    static const std::uint32_t singles[] = {0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x00000001, 0x80000000, 0xFFFFFFFF, 0};
    for (std::size_t count = 1 + random.below(4); count > 0 && data.size() >= 4; --count) {
        const std::size_t at = random.below(data.size() / 4) * 4;
        const std::uint32_t bits = random.below(3) == 0 ? static_cast<std::uint32_t>(random.bits()) : singles[random.below(8)];
        std::memcpy(&data[at], &bits, 4);
    }
}

/** Damages a model once or a few times; says what was done first. */
const char* damage(ModelText& text, Random& random) {
    const std::size_t header = static_cast<std::size_t>(headerLength(text.weights));
    std::string names = text.weights.substr(8, header), data = text.weights.substr(8 + header);
    switch (random.below(16)) {
        case 0:
            text.description = anyOf(otherFormats(), random);
            return "description replaced";
        case 1:
            text.weights = anyOf(otherFormats(), random);
            return "weights replaced";
        case 2: {
            const std::uint64_t lengths[] = {0, 1, header - 1, header + 1, text.weights.size(), 1ull << 31, 1ull << 62, ~0ull};
            const std::uint64_t length = lengths[random.below(8)];
            for (std::size_t i = 0; i < 8; ++i)
                text.weights[i] = static_cast<char>(length >> (8 * i));
            return "header length replaced";
        }
        case 3:
            damageBytes(text.description, random);
            return "description's bytes damaged";
        case 4:
            damageBytes(text.weights, random);
            return "weights' bytes damaged";
        case 5:
            damageBytes(names, random);
            text.weights = safetensorsFile(names, data);
            return "header's bytes damaged";
        case 6:
            damageBytes(data, random);
            text.weights = safetensorsFile(names, data);
            return "data's bytes damaged";
        case 7:
        case 8:
        case 9:
            for (std::size_t count = 1 + random.below(3); count > 0; --count)
                damageJson(names, random);
            text.weights = safetensorsFile(names, data);
            return "header's values replaced";
        case 10:
        case 11:
            damageValues(data, random);
            text.weights = safetensorsFile(names, data);
            return "values replaced";
        default:
            for (std::size_t count = 1 + random.below(3); count > 0; --count)
                damageJson(text.description, random);
            return "description's values replaced";
    }
}

/** Shapes small enough that every byte of a file is hit. */
ModelText randomModel(Random& random) {
    ModelShape shape;
    shape.beads = 1 + static_cast<int>(random.below(6));
    shape.width = 1 + static_cast<int>(random.below(9));
    shape.layers = 1 + static_cast<int>(random.below(2));
    shape.prior = random.below(4) != 0;
    shape.wall = random.below(3) == 0;
    if (shape.beads > 4 && random.below(2) == 0) {
        shape.window = 4 + static_cast<int>(random.below(static_cast<std::size_t>(shape.beads - 4)));
        shape.windowWidth = 1 + static_cast<int>(random.below(9));
    }
    shape.seed = random.bits();
    if (random.below(2) == 0)
        return randomInternal(shape);
    shape.headWidth = 1 + static_cast<int>(random.below(4));
    shape.width = shape.headWidth * (1 + static_cast<int>(random.below(3)));
    return randomGraphTransformer(shape);
}

enum class Outcome { Refused, Evaluated };

Outcome use(const ModelText& text, Random& random) {
    static const Terms terms[] = {Terms::All, Terms::Network, Terms::Prior};
    const ModelFile model = text.parse();
    const Precision precision = random.below(2) == 0 ? Precision::Single : Precision::Double;
    const auto evaluator = Evaluator::create(model, precision, 1, terms[random.below(3)]);
    const int replicas = 1 + static_cast<int>(random.below(3));
    std::vector<double> positions, forces;
    for (int r = 0; r < replicas; ++r) {
        const std::vector<double> frame = randomFrame(evaluator->beads(), random);
        positions.insert(positions.end(), frame.begin(), frame.end());
    }
    forces.resize(positions.size());
    evaluator->evaluate(positions.data(), replicas, 1.0, 1.0, forces.data());
    return Outcome::Evaluated;
}

bool namesAnEntry(const std::string& message) {
    for (const char* entry : {"fpforce.json", "fpforce.safetensors"})
        if (message.find(entry) != std::string::npos)
            return true;
    return false;
}

}  // namespace

int main(int count, char** arguments) {
    const auto argument = [&](int i, std::uint64_t otherwise) { return count > i ? std::strtoull(arguments[i], nullptr, 10) : otherwise; };
    const std::uint64_t cases = argument(1, 20000), seed = argument(2, 1), first = argument(3, 0);
    std::uint64_t evaluated = 0, refused = 0;
    std::size_t mostBytes = 0;
    for (std::uint64_t i = first; i < first + cases; ++i) {
        Random random(seed * 0x100000001B3u + i);
        ModelText text = randomModel(random);
        const char* what = damage(text, random);
        const std::size_t bound = 64 * (text.description.size() + text.weights.size()) + (1u << 20);
        std::string problem;
        alarm(30);  // ends a case that hangs
        {
            const Allocations allocations;
            const AllocationLimit limit(bound);
            try {
                use(text, random);
                ++evaluated;
            } catch (const ModelError& error) {
                ++refused;
                if (!namesAnEntry(error.what()))
                    problem = std::string("the error names no entry: ") + error.what();
            } catch (const std::bad_alloc&) {
                problem = "needed more than " + std::to_string(bound) + " bytes";
            } catch (const std::exception& error) {
                problem = std::string("threw something else: ") + error.what();
            }
            mostBytes = std::max(mostBytes, allocations.peakBytes());
        }
        if (!problem.empty()) {
            std::printf("case %llu of seed %llu (%s): %s\n", static_cast<unsigned long long>(i), static_cast<unsigned long long>(seed),
                        what, problem.c_str());
            return 1;
        }
    }
    std::printf("%llu damaged models: %llu refused, %llu evaluated, at most %zu kB in use\n", static_cast<unsigned long long>(cases),
                static_cast<unsigned long long>(refused), static_cast<unsigned long long>(evaluated), mostBytes / 1024);
    return 0;
}
