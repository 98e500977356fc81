#include "CommonFPForceKernel.h"

#include "openmm/common/ComputeForceInfo.h"
#include "openmm/common/ContextSelector.h"

#include "energy/Noise.h"
#include "model/ModelFile.h"

// ComputeForceInfo's four defaults, of which every platform's library has a copy of its own. Ours is for this library alone:
// exports.map keeps it out of the symbols that others see.
namespace OpenMM {
bool ComputeForceInfo::areParticlesIdentical(int, int) {
    return true;
}
int ComputeForceInfo::getNumParticleGroups() {
    return 0;
}
void ComputeForceInfo::getParticlesInGroup(int, std::vector<int>&) {
}
bool ComputeForceInfo::areGroupsIdentical(int, int) {
    return true;
}
}  // namespace OpenMM

using OpenMM::ContextSelector;

namespace FPForcePlugin {

namespace {

/** Makes a replica one molecule for OpenMM, which then reorders it, and wraps it into the periodic box, as a whole. */
class ReplicasAreMolecules : public OpenMM::ComputeForceInfo {
public:
    ReplicasAreMolecules(const std::vector<int>& particles, int beads) : particles_(particles), beads_(beads) {
    }
    int getNumParticleGroups() override {
        return static_cast<int>(particles_.size()) / beads_;
    }
    void getParticlesInGroup(int index, std::vector<int>& members) override {
        members.assign(particles_.begin() + index * beads_, particles_.begin() + (index + 1) * beads_);
    }

private:
    std::vector<int> particles_;
    int beads_;
};

}  // namespace

/** The parts of the energy, and what they are made from. */
struct CommonFPForceKernel::Terms {
    DeviceBeads beads;
    std::unique_ptr<DeviceTerm> prior, network;  // either may be missing
};

class CommonFPForceKernel::Reorder : public OpenMM::ComputeContext::ReorderListener {
public:
    explicit Reorder(CommonFPForceKernel& owner) : owner_(owner) {
    }
    void execute() override {
        owner_.findParticles();
    }

private:
    CommonFPForceKernel& owner_;
};

CommonFPForceKernel::CommonFPForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ComputeContext& cc)
    : CalcFPForceKernel(name, platform), cc_(cc) {
}

CommonFPForceKernel::~CommonFPForceKernel() {
    ContextSelector selector(cc_);
    terms_.reset();
    deviceParticles_.reset();
}

void CommonFPForceKernel::initialize(const FPForce& force, const std::vector<int>& particles, bool onAnyDevice) {
    if (cc_.getIsCPU() && !onAnyDevice)
        throw DeviceUnsuitable("the device is the host's processor, for which there is faster code");
    ContextSelector selector(cc_);
    particles_ = particles;
    deviceParticles_.reset(cc_.createArray());
    deviceParticles_->initialize(cc_, particles_.size(), sizeof(int), "fpforceParticles");
    findParticles();
    terms_ = makeTerms(force);
    // Last, since the context keeps both, whatever becomes of this kernel.
    cc_.addForce(new ReplicasAreMolecules(particles_, force.getNumBeads()));
    cc_.getReorderListeners().push_back(new Reorder(*this));
}

std::unique_ptr<CommonFPForceKernel::Terms> CommonFPForceKernel::makeTerms(const FPForce& force) {
    const ModelFile model = ModelFile::parse(force.getDescription(), force.getWeights());
    if (model.kind() != "internal" && model.kind() != "graph_transformer" && force.getTerms() != FPForce::Prior)
        throw DeviceUnsuitable("there is no kernel for models of kind " + model.kind() + " yet");
    const bool doubleNetwork = force.getPrecision() == FPForce::Double;
    if (doubleNetwork && !cc_.getUseDoublePrecision() && !cc_.getUseMixedPrecision())
        throw DeviceUnsuitable(
            "the force asks for double precision and the platform computes in single; set the platform's Precision to mixed");
    auto terms = std::unique_ptr<Terms>(new Terms{{cc_, *deviceParticles_, static_cast<int>(particles_.size()) / model.beads(),
                                                   model.beads(), 1.0 / model.scaleNm(), model.ktKjPerMol(), doubleNetwork},
                                                  nullptr,
                                                  nullptr});
    const NoiseLevel level(model.tEval());
    if (force.getTerms() != FPForce::Network && PriorPlan::isIn(model))
        terms->prior = priorTerm(terms->beads, PriorPlan(model, level));
    if (force.getTerms() == FPForce::Prior)
        return terms;
    if (model.kind() == "internal")
        terms->network = internalTerm(terms->beads, InternalPlan<double>(model, 1));
    else
        terms->network = graphTerm(terms->beads, GraphTransformerPlan<double>(model, level, 1, 1));
    return terms;
}

void CommonFPForceKernel::copyParametersToContext(const FPForce& force) {
    ContextSelector selector(cc_);
    terms_ = makeTerms(force);
}

void CommonFPForceKernel::findParticles() {
    ContextSelector selector(cc_);
    const std::vector<int>& order = cc_.getAtomIndex();
    std::vector<int> places(order.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        places[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
    std::vector<int> found;
    for (const int particle : particles_)
        found.push_back(places[static_cast<std::size_t>(particle)]);
    deviceParticles_->upload(found);
}

double CommonFPForceKernel::execute(double scale, bool includeForces, bool includeEnergy) {
    ContextSelector selector(cc_);
    double energy = 0.0;
    if (terms_->network)
        energy += terms_->network->execute(scale, includeForces, includeEnergy);
    if (terms_->prior)
        energy += terms_->prior->execute(1.0, includeForces, includeEnergy);
    return energy;
}

}  // namespace FPForcePlugin
