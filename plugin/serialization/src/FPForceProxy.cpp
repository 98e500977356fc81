#include "FPForceProxy.h"

#include <charconv>
#include <locale>
#include <memory>
#include <sstream>
#include <vector>

#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"

#include "Base64.h"
#include "FPForce.h"
#include "internal/OpenMMErrors.h"

using OpenMM::OpenMMException;
using OpenMM::SerializationNode;

namespace FPForcePlugin {

namespace {

constexpr int currentVersion = 1;
const char* const precisionNames[] = {"single", "double"};
const char* const termsNames[] = {"all", "network", "prior"};

OpenMMException damaged(const std::string& what) {
    return OpenMMException("FPForce: the XML is damaged: " + what + "; serialize the System again");
}

/** How an element is called; the outermost has lost its name when it is read. */
std::string element(const SerializationNode& node) {
    return node.getName().empty() ? "<Force>" : "<" + node.getName() + ">";
}

/** By value, as OpenMM 8.6 returns it. */
std::string property(const SerializationNode& node, const std::string& name) {
    if (!node.hasProperty(name))
        throw damaged(element(node) + " has no property '" + name + "'");
    return node.getStringProperty(name);
}

const SerializationNode& child(const SerializationNode& node, const std::string& name) {
    for (const SerializationNode& candidate : node.getChildren())
        if (candidate.getName() == name)
            return candidate;
    throw damaged(element(node) + " has no <" + name + ">");
}

int integer(const SerializationNode& node, const std::string& name) {
    const std::string text = property(node, name);
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        throw damaged(name + "=\"" + text + "\" is not a whole number");
    return value;
}

double number(const SerializationNode& node, const std::string& name) {
    std::istringstream stream(property(node, name));
    stream.imbue(std::locale::classic());
    double value = 0.0;
    if (!(stream >> value) || stream.peek() != std::char_traits<char>::eof())
        throw damaged(name + "=\"" + stream.str() + "\" is not a number");
    return value;
}

template <class Choice, std::size_t Count>
Choice choice(const SerializationNode& node, const std::string& name, const char* const (&names)[Count]) {
    const std::string text = property(node, name);
    for (std::size_t i = 0; i < Count; ++i)
        if (text == names[i])
            return static_cast<Choice>(i);
    throw damaged(name + "=\"" + text + "\" is not known");
}

std::string bytes(const SerializationNode& node, const std::string& name) {
    try {
        return fromBase64(property(node, name));
    } catch (const std::invalid_argument& error) {
        throw damaged(name + " of " + element(node) + ": " + error.what());
    }
}

std::string listed(const std::vector<int>& numbers) {
    std::string text;
    for (int value : numbers)
        text += (text.empty() ? "" : " ") + std::to_string(value);
    return text;
}

std::vector<int> particles(const SerializationNode& node) {
    const std::string text = property(node, "particles");
    std::vector<int> numbers;
    const char* position = text.data();
    const char* const last = position + text.size();
    while (position != last) {
        int value = 0;
        const auto [end, error] = std::from_chars(position, last, value);
        if (error != std::errc() || (end != last && (*end != ' ' || end + 1 == last)))
            throw damaged("particles=\"" + text.substr(0, 80) + "\" is not a list of whole numbers");
        numbers.push_back(value);
        position = end == last ? end : end + 1;
    }
    return numbers;
}

}  // namespace

FPForceProxy::FPForceProxy() : SerializationProxy("FPForce") {
}

void FPForceProxy::serialize(const void* object, SerializationNode& node) const {
    withOpenMMErrors([&] {
        const FPForce& force = *static_cast<const FPForce*>(object);
        node.setIntProperty("version", currentVersion);
        node.setStringProperty("name", force.getName());
        node.setIntProperty("forceGroup", force.getForceGroup());
        node.setStringProperty("precision", precisionNames[force.getPrecision()]);
        node.setIntProperty("threads", force.getNumThreads());
        node.setStringProperty("terms", termsNames[force.getTerms()]);
        node.setStringProperty("scaleParameter", force.getScaleParameter());
        node.setDoubleProperty("defaultScale", force.getDefaultScale());
        SerializationNode& model = node.createChildNode("Model");
        model.setStringProperty("description", toBase64(force.getDescription()));
        model.setStringProperty("weights", toBase64(force.getWeights()));
        SerializationNode& replicas = node.createChildNode("Replicas");
        for (int i = 0; i < force.getNumReplicas(); ++i)
            replicas.createChildNode("Replica").setStringProperty("particles", listed(force.getReplicaParticles(i)));
    });
}

void* FPForceProxy::deserialize(const SerializationNode& node) const {
    return withOpenMMErrors([&]() -> void* {
        const int version = integer(node, "version");
        if (version != currentVersion)
            throw OpenMMException("FPForce: the XML has version " + std::to_string(version) + ", this plugin reads version " +
                                  std::to_string(currentVersion) + "; install the fpforce that wrote it, or a newer one");
        const SerializationNode& model = child(node, "Model");
        auto force = std::make_unique<FPForce>(bytes(model, "description"), bytes(model, "weights"));
        force->setName(property(node, "name"));
        force->setForceGroup(integer(node, "forceGroup"));
        force->setPrecision(choice<FPForce::Precision>(node, "precision", precisionNames));
        force->setNumThreads(integer(node, "threads"));
        force->setTerms(choice<FPForce::Terms>(node, "terms", termsNames));
        force->setScaleParameter(property(node, "scaleParameter"));
        force->setDefaultScale(number(node, "defaultScale"));
        for (const SerializationNode& replica : child(node, "Replicas").getChildren())
            force->addReplica(particles(replica));
        return force.release();
    });
}

}  // namespace FPForcePlugin
