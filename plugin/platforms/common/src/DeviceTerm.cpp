#include "DeviceTerm.h"

#include <algorithm>
#include <cstdio>

#include "openmm/common/ContextSelector.h"

#include "KernelText.h"

using OpenMM::ContextSelector;

namespace FPForcePlugin {

namespace {

/** A number that C reads as a floating-point constant of one of the two types. */
std::string literal(double value, bool inDouble) {
    char text[40];
    std::snprintf(text, sizeof text, inDouble ? "%.17e" : "%.9ef", value);
    return std::string("(") + text + ")";
}

}  // namespace

DeviceTerm::DeviceTerm(const DeviceBeads& beads) : beads_(beads) {
    defines_["NETWORK_REAL"] = beads.doubleNetwork ? "double" : "float";
    define("BEADS", beads.beads);
    define("REPLICAS", beads.replicas);
    define("PADDED_NUM_ATOMS", beads.cc.getPaddedNumAtoms());
    define("INVERSE_LENGTH", beads.inverseLength);
    define("KT", beads.kT);
}

DeviceTerm::~DeviceTerm() {
    ContextSelector selector(beads_.cc);
    arrays_.clear();
}

void DeviceTerm::define(const std::string& name, int value) {
    defines_[name] = "(" + std::to_string(value) + ")";
}

void DeviceTerm::define(const std::string& name, double value) {
    defines_[name] = literal(value, beads_.doubleGeometry());
}

template <class Value>
void DeviceTerm::addArray(const std::vector<Value>& values) {
    arrays_.emplace_back(beads_.cc.createArray());
    const std::vector<Value> atLeastOne(1);
    const std::vector<Value>& kept = values.empty() ? atLeastOne : values;  // no array is empty
    arrays_.back()->initialize(beads_.cc, kept.size(), sizeof(Value), "fpforce" + std::to_string(arrays_.size()));
    arrays_.back()->upload(kept);
}

void DeviceTerm::addReals(const std::vector<double>& values, bool inDouble) {
    if (inDouble)
        addArray(values);
    else
        addArray(std::vector<float>(values.begin(), values.end()));
}

void DeviceTerm::addIndices(const std::vector<int>& values) {
    addArray(values);
}

void DeviceTerm::addGeometry(const std::vector<double>& values) {
    addReals(values, beads_.doubleGeometry());
}

void DeviceTerm::addNetwork(const std::vector<double>& values) {
    addReals(values, beads_.doubleNetwork);
}

void DeviceTerm::addScratch(std::size_t count) {
    arrays_.emplace_back(beads_.cc.createArray());
    arrays_.back()->initialize(beads_.cc, std::max<std::size_t>(count, 1), beads_.networkBytes(), "fpforceScratch");
}

void DeviceTerm::compile(const std::string& name, const std::string& source, int threads, int replicasAtOnce, double constant) {
    define("THREADS", threads);
    define("REPLICAS_AT_ONCE", replicasAtOnce);
    OpenMM::ComputeContext& cc = beads_.cc;
    kernel_ = cc.compileProgram(KernelText::beads + source, defines_)->createKernel(name);
    if (kernel_->getMaxBlockSize() < threads)
        throw DeviceUnsuitable("its driver runs " + std::to_string(kernel_->getMaxBlockSize()) + " threads of the kernel " + name +
                               " together, which needs " + std::to_string(threads));
    int arguments = 0;
    const auto add = [&](OpenMM::ArrayInterface& array) {
        kernel_->addArg(array);
        ++arguments;
    };
    add(cc.getPosq());
    if (cc.getUseMixedPrecision())
        add(cc.getPosqCorrection());
    add(beads_.particles);
    add(cc.getLongForceBuffer());
    add(cc.getEnergyBuffer());
    for (const auto& array : arrays_)
        add(*array);
    scaleArgument_ = arguments;
    for (int i = 0; i < 3; ++i)
        kernel_->addArg();
    threads_ = threads;
    totalThreads_ = (beads_.replicas + replicasAtOnce - 1) / replicasAtOnce * threads;
    constant_ = constant * beads_.replicas;
}

double DeviceTerm::execute(double scale, bool includeForces, bool includeEnergy) {
    if (beads_.doubleGeometry())
        kernel_->setArg(scaleArgument_, scale);
    else
        kernel_->setArg(scaleArgument_, static_cast<float>(scale));
    kernel_->setArg(scaleArgument_ + 1, static_cast<int>(includeForces));
    kernel_->setArg(scaleArgument_ + 2, static_cast<int>(includeEnergy));
    kernel_->execute(totalThreads_, threads_);
    return scale * constant_;
}

}  // namespace FPForcePlugin
