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

#include "energy/GraphTransformerPlan.h"
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
 * One part of the energy as kernels on a device that are launched one after another, with the arrays of its constants.
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

    /** The next argument of every kernel: whole numbers, numbers in the precision of positions, and in that of the network. */
    void addIndices(const std::vector<int>& values);
    void addGeometry(const std::vector<double>& values);
    void addNetwork(const std::vector<double>& values);
    /** The next argument of every kernel: memory for numbers in the network's precision, or in that of positions. */
    void addScratch(std::size_t count);
    void addGeometryScratch(std::size_t count);

    /** Compiles `source`, whose kernels run in groups of `threads`, each of which computes `replicasAtOnce` replicas at a time. */
    void compile(const std::string& source, int threads, int replicasAtOnce);
    /** The next launch: the kernel `name` in so many groups, or as many as OpenMM allows. */
    void addLaunch(const std::string& name, int groups);
    /** The same with a number for the kernel's last argument; `forForces`: left out where no forces are asked for. */
    void addLaunch(const std::string& name, int groups, int number, bool forForces);
    /** The energy of one replica (kJ/mol) that the kernels leave out. */
    void leaveOut(double energy) {
        constant_ = energy * beads_.replicas;
    }
    /** Adds `scale` times the forces and the energy to the context's; returns the energy left out. */
    double execute(double scale, bool includeForces, bool includeEnergy);

private:
    struct Launch {
        OpenMM::ComputeKernel kernel;
        int totalThreads, number;
        bool isNumbered, forForces;
    };
    template <class Value>
    void addArray(const std::vector<Value>& values);
    void addMemory(std::size_t count, int bytes);
    /** The kernel `name` of the program, its arguments set but for the last ones. */
    OpenMM::ComputeKernel kernel(const std::string& name, bool isNumbered);
    void addReals(const std::vector<double>& values, bool inDouble);

    const DeviceBeads& beads_;
    std::map<std::string, std::string> defines_;
    std::vector<std::unique_ptr<OpenMM::ArrayInterface>> arrays_;
    OpenMM::ComputeProgram program_;
    std::map<std::string, OpenMM::ComputeKernel> kernels_;
    std::vector<Launch> launches_;
    int scaleArgument_ = 0, threads_ = 0;
    double constant_ = 0.0;
};

/** The prior and the wall (PriorPlan.h); throws DeviceUnsuitable. */
std::unique_ptr<DeviceTerm> priorTerm(const DeviceBeads& beads, const PriorPlan& plan);
/** The network of kind `internal`; plan: with panels of one column. Throws DeviceUnsuitable. */
std::unique_ptr<DeviceTerm> internalTerm(const DeviceBeads& beads, const InternalPlan<double>& plan);

/** The network of kind `graph_transformer`; plan: with panels and vectors of one column. Throws DeviceUnsuitable. */
std::unique_ptr<DeviceTerm> graphTerm(const DeviceBeads& beads, const GraphTransformerPlan<double>& plan);

/** A matrix packed in panels of one column, its columns one after another: the rows of its transpose. */
void appendColumns(std::vector<double>& values, const PackedMatrix<double>& matrix);
/** Its rows one after another. */
void appendRows(std::vector<double>& values, const PackedMatrix<double>& matrix);

/** Local memory that every device has: 32 KiB, less what a driver takes for itself. */
constexpr std::size_t localMemoryBytes = 31 * 1024;

}  // namespace FPForcePlugin

#endif
