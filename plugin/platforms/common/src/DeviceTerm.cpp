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
    launches_.clear();
    kernels_.clear();
    program_.reset();
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

void DeviceTerm::addMemory(std::size_t count, int bytes) {
    arrays_.emplace_back(beads_.cc.createArray());
    arrays_.back()->initialize(beads_.cc, std::max<std::size_t>(count, 1), bytes, "fpforceScratch");
}

void DeviceTerm::addScratch(std::size_t count) {
    addMemory(count, beads_.networkBytes());
}

void DeviceTerm::addGeometryScratch(std::size_t count) {
    addMemory(count, beads_.geometryBytes());
}

void DeviceTerm::compile(const std::string& source, int threads, int replicasAtOnce) {
    define("THREADS", threads);
    define("REPLICAS_AT_ONCE", replicasAtOnce);
    program_ = beads_.cc.compileProgram(KernelText::beads + source, defines_);
    threads_ = threads;
}

OpenMM::ComputeKernel DeviceTerm::kernel(const std::string& name, bool isNumbered) {
    OpenMM::ComputeContext& cc = beads_.cc;
    const OpenMM::ComputeKernel made = program_->createKernel(name);
    if (made->getMaxBlockSize() < threads_)
        throw DeviceUnsuitable("its driver runs " + std::to_string(made->getMaxBlockSize()) + " threads of the kernel " + name +
                               " together, which needs " + std::to_string(threads_));
    int arguments = 0;
    const auto add = [&](OpenMM::ArrayInterface& array) {
        made->addArg(array);
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
    for (int i = 0; i < (isNumbered ? 4 : 3); ++i)
        made->addArg();
    return made;
}

void DeviceTerm::addLaunch(const std::string& name, int groups) {
    launches_.push_back({kernel(name, false), groups * threads_, 0, false, false});
}

void DeviceTerm::addLaunch(const std::string& name, int groups, int number, bool forForces) {
    if (kernels_.count(name) == 0)
        kernels_[name] = kernel(name, true);
    launches_.push_back({kernels_[name], groups * threads_, number, true, forForces});
}

double DeviceTerm::execute(double scale, bool includeForces, bool includeEnergy) {
    for (Launch& launch : launches_) {
        if (launch.forForces && !includeForces)
            continue;
        if (beads_.doubleGeometry())
            launch.kernel->setArg(scaleArgument_, scale);
        else
            launch.kernel->setArg(scaleArgument_, static_cast<float>(scale));
        launch.kernel->setArg(scaleArgument_ + 1, static_cast<int>(includeForces));
        launch.kernel->setArg(scaleArgument_ + 2, static_cast<int>(includeEnergy));
        if (launch.isNumbered)
            launch.kernel->setArg(scaleArgument_ + 3, launch.number);
        launch.kernel->execute(launch.totalThreads, threads_);
    }
    return scale * constant_;
}

void appendColumns(std::vector<double>& values, const PackedMatrix<double>& matrix) {
    const PanelView<double> view = matrix.view();
    for (int column = 0; column < view.columns; ++column)
        values.insert(values.end(), view.data + static_cast<std::ptrdiff_t>(column) * view.panelRows,
                      view.data + static_cast<std::ptrdiff_t>(column) * view.panelRows + view.depth);
}

void appendRows(std::vector<double>& values, const PackedMatrix<double>& matrix) {
    const PanelView<double> view = matrix.view();
    for (int row = 0; row < view.depth; ++row)
        for (int column = 0; column < view.columns; ++column)
            values.push_back(view.data[static_cast<std::ptrdiff_t>(column) * view.panelRows + row]);
}

}  // namespace FPForcePlugin
