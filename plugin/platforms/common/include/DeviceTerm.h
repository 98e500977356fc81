#ifndef FPFORCE_DEVICE_TERM_H_
#define FPFORCE_DEVICE_TERM_H_

#include <cstddef>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "openmm/common/ArrayInterface.h"
#include "openmm/common/ComputeContext.h"

#include "energy/InternalPlan.h"
#include "energy/PriorPlan.h"

namespace FPForcePlugin {

/** Why a device cannot compute a force, in the words that follow "computed on the host: ". */
struct DeviceUnsuitable : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/** The replicas on a device, and the units that a model computes in. */
struct DeviceBeads {
    OpenMM::ComputeContext& cc;
    OpenMM::ArrayInterface& particles;  // the device's index of every bead, replica by replica
    int replicas, beads;
    double inverseLength, kT;  // 1/nm, kJ/mol
    bool doubleNetwork;        // the floating-point type of the network

    bool doubleGeometry() const {
        return cc.getUseDoublePrecision() || cc.getUseMixedPrecision();
    }
    int geometryBytes() const {
        return doubleGeometry() ? 8 : 4;
    }
    int networkBytes() const {
        return doubleNetwork ? 8 : 4;
    }
};

/**
 * One part of the energy as one kernel on a device, with the arrays of its constants.
 *
 * Uses OpenMM's ComputeContext, and what hangs on it, through virtual and inline members only, so that libFPForce.so refers to
 * no symbol of libOpenMMOpenCL.so, libOpenMMCUDA.so or libOpenMMHIP.so, and serves all three.
 */
class DeviceTerm {
public:
    explicit DeviceTerm(const DeviceBeads& beads);
    ~DeviceTerm();
    DeviceTerm(const DeviceTerm&) = delete;
    DeviceTerm& operator=(const DeviceTerm&) = delete;

    /** A macro of the kernel's text: a whole number, or one in the precision of positions. */
    void define(const std::string& name, int value);
    void define(const std::string& name, double value);

    /** The next argument of the kernel: whole numbers, numbers in the precision of positions, and in that of the network. */
    void addIndices(const std::vector<int>& values);
    void addGeometry(const std::vector<double>& values);
    void addNetwork(const std::vector<double>& values);
    /** The next argument of the kernel: memory for numbers in the network's precision. */
    void addScratch(std::size_t count);

    /**
     * Compiles the kernel `name` of `source` for groups of `threads`, each of which computes `replicasAtOnce` of the replicas at a
     * time. constant: the energy of one replica (kJ/mol) that the kernel leaves out.
     */
    void compile(const std::string& name, const std::string& source, int threads, int replicasAtOnce, double constant);
    /** Adds `scale` times the forces and the energy to the context's; returns the energy left out. */
    double execute(double scale, bool includeForces, bool includeEnergy);

private:
    template <class Value>
    void addArray(const std::vector<Value>& values);
    void addReals(const std::vector<double>& values, bool inDouble);

    const DeviceBeads& beads_;
    std::map<std::string, std::string> defines_;
    std::vector<std::unique_ptr<OpenMM::ArrayInterface>> arrays_;
    OpenMM::ComputeKernel kernel_;
    int scaleArgument_ = 0, totalThreads_ = 0, threads_ = 0;
    double constant_ = 0.0;
};

/** The prior and the wall (PriorPlan.h); throws DeviceUnsuitable. */
std::unique_ptr<DeviceTerm> priorTerm(const DeviceBeads& beads, const PriorPlan& plan);
/** The network of kind `internal`; plan: with panels of one column. Throws DeviceUnsuitable. */
std::unique_ptr<DeviceTerm> internalTerm(const DeviceBeads& beads, const InternalPlan<double>& plan);

/** Local memory that every device has: 32 KiB, less what a driver takes for itself. */
constexpr std::size_t localMemoryBytes = 31 * 1024;

}  // namespace FPForcePlugin

#endif
