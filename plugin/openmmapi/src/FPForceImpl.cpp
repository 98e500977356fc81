#include "internal/FPForceImpl.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "openmm/Platform.h"

#include "internal/FPForceKernels.h"
#include "internal/HostNotice.h"
#include "internal/OpenMMErrors.h"

using OpenMM::ContextImpl;
using OpenMM::OpenMMException;
using OpenMM::Vec3;

namespace FPForcePlugin {

namespace {

static_assert(sizeof(Vec3) == 3 * sizeof(double), "a vector of Vec3 is an array of coordinates");

const double* coordinates(const std::vector<Vec3>& vectors) {
    return reinterpret_cast<const double*>(vectors.data());
}

double* coordinates(std::vector<Vec3>& vectors) {
    return reinterpret_cast<double*>(vectors.data());
}

std::string nameOfScaleParameter(const FPForce& force) {
    return force.getTerms() == FPForce::Prior ? std::string() : force.getScaleParameter();
}

/** The particles of every replica, one after another. */
std::vector<int> flattened(const FPForce& force) {
    std::vector<int> particles;
    for (int replica = 0; replica < force.getNumReplicas(); ++replica) {
        const std::vector<int>& members = force.getReplicaParticles(replica);
        particles.insert(particles.end(), members.begin(), members.end());
    }
    return particles;
}

Terms termsOf(FPForce::Terms terms) {
    return terms == FPForce::Network ? Terms::Network : terms == FPForce::Prior ? Terms::Prior : Terms::All;
}

}  // namespace

FPForceImpl::FPForceImpl(const FPForce& owner)
    : CustomCPPForceImpl(owner), owner_(owner), kind_(owner.getKind()), terms_(owner.getTerms()),
      scaleParameter_(nameOfScaleParameter(owner)) {
}

void FPForceImpl::initialize(ContextImpl& context) {
    const std::string platform = context.getPlatform().getName();
    withOpenMMErrors([&] {
        particles_ = checkedParticles(context.getSystem().getNumParticles());
        replicas_ = owner_.getNumReplicas();
        beads_ = owner_.getNumBeads();
        evaluation_ = "host";
        if (context.getPlatform().supportsKernels({CalcFPForceKernel::Name()})) {
            const std::string reason = prepareDevice(context);
            onDevice_ = reason.empty();
            evaluation_ = onDevice_ ? platform : "host: " + shortened(reason);
            if (!onDevice_)
                noticeHost(platform, kind_, reason);
        }
        if (!onDevice_)
            prepareHost();
    });
    if (!onDevice_)
        CustomCPPForceImpl::initialize(context);
}

std::string FPForceImpl::prepareDevice(ContextImpl& context) {
    const char* set = std::getenv("FPFORCE_DEVICE");
    const std::string wanted = set == nullptr ? "" : set;
    if (wanted == "host")
        return "FPFORCE_DEVICE asks for it";
    if (!wanted.empty() && wanted != "kernel")
        throw OpenMMException("FPForce: FPFORCE_DEVICE is '" + wanted + "'; give host or kernel, or unset it");
    try {
        kernel_ = context.getPlatform().createKernel(CalcFPForceKernel::Name(), context);
        kernel_.getAs<CalcFPForceKernel>().initialize(owner_, particles_, wanted == "kernel");
        return "";
    } catch (const std::exception& error) {
        kernel_ = OpenMM::Kernel();
        return error.what();
    }
}

void FPForceImpl::prepareHost() {
    evaluator_ = makeEvaluator();
    std::vector<int> first(particles_.size());
    std::iota(first.begin(), first.end(), 0);
    inPlace_ = particles_ == first;
    if (!inPlace_) {
        gatheredPositions_.resize(particles_.size());
        gatheredForces_.resize(particles_.size());
    }
}

std::vector<int> FPForceImpl::checkedParticles(int particlesOfSystem) const {
    if (owner_.getNumReplicas() == 0)
        throw OpenMMException("FPForce has no replicas; call addReplica() for every molecule");
    std::vector<int> replicaOf(static_cast<std::size_t>(particlesOfSystem), -1);
    for (int replica = 0; replica < owner_.getNumReplicas(); ++replica) {
        const std::vector<int>& members = owner_.getReplicaParticles(replica);
        const std::string name = "FPForce: replica " + std::to_string(replica);
        if (members.size() != static_cast<std::size_t>(owner_.getNumBeads()))
            throw OpenMMException(name + " has " + std::to_string(members.size()) + " particles, but the model has " +
                                  std::to_string(owner_.getNumBeads()) + " beads");
        for (int particle : members) {
            if (particle < 0 || particle >= particlesOfSystem)
                throw OpenMMException(name + " names particle " + std::to_string(particle) + ", but the System's particles are 0 to " +
                                      std::to_string(particlesOfSystem - 1));
            int& earlier = replicaOf[static_cast<std::size_t>(particle)];
            if (earlier >= 0)
                throw OpenMMException(name + " names particle " + std::to_string(particle) + ", which is in replica " +
                                      std::to_string(earlier) + " already; a particle is one bead of one replica");
            earlier = replica;
        }
    }
    return flattened(owner_);
}

std::unique_ptr<Evaluator> FPForceImpl::makeEvaluator() const {
    const Precision precision = owner_.getPrecision() == FPForce::Double ? Precision::Double : Precision::Single;
    return Evaluator::create(ModelFile::parse(owner_.getDescription(), owner_.getWeights()), precision, owner_.getNumThreads(),
                             termsOf(terms_));
}

double FPForceImpl::scaleIn(ContextImpl& context) const {
    return scaleParameter_.empty() ? 1.0 : context.getParameters().at(scaleParameter_);
}

double FPForceImpl::calcForcesAndEnergy(ContextImpl& context, bool includeForces, bool includeEnergy, int groups) {
    if (!onDevice_)
        return CustomCPPForceImpl::calcForcesAndEnergy(context, includeForces, includeEnergy, groups);
    if ((groups & (1 << owner_.getForceGroup())) == 0)
        return 0.0;
    return withOpenMMErrors([&] { return kernel_.getAs<CalcFPForceKernel>().execute(scaleIn(context), includeForces, includeEnergy); });
}

double FPForceImpl::computeForce(ContextImpl& context, const std::vector<Vec3>& positions, std::vector<Vec3>& forces) {
    return withOpenMMErrors([&] {
        const double scale = scaleIn(context);
        if (inPlace_) {
            std::fill(forces.begin() + static_cast<std::ptrdiff_t>(particles_.size()), forces.end(), Vec3());
            return evaluate(scale, positions, forces);
        }
        for (std::size_t i = 0; i < particles_.size(); ++i)
            gatheredPositions_[i] = positions[static_cast<std::size_t>(particles_[i])];
        const double energy = evaluate(scale, gatheredPositions_, gatheredForces_);
        std::fill(forces.begin(), forces.end(), Vec3());
        for (std::size_t i = 0; i < particles_.size(); ++i)
            forces[static_cast<std::size_t>(particles_[i])] = gatheredForces_[i];
        return energy;
    });
}

double FPForceImpl::evaluate(double scale, const std::vector<Vec3>& positions, std::vector<Vec3>& forces) {
    const Energy energy = evaluator_->evaluate(coordinates(positions), replicas_, scale, 1.0, coordinates(forces));
    return scale * energy.network + energy.prior;
}

std::map<std::string, double> FPForceImpl::getDefaultParameters() {
    if (scaleParameter_.empty())
        return {};
    return {{scaleParameter_, owner_.getDefaultScale()}};
}

std::vector<std::pair<int, int>> FPForceImpl::getBondedParticles() const {
    std::vector<std::pair<int, int>> bonds;
    for (int replica = 0; replica < owner_.getNumReplicas(); ++replica) {
        const std::vector<int>& members = owner_.getReplicaParticles(replica);
        for (std::size_t i = 1; i < members.size(); ++i)
            bonds.emplace_back(members[i - 1], members[i]);
    }
    return bonds;
}

void FPForceImpl::updateParametersInContext(ContextImpl& context) {
    withOpenMMErrors([&] {
        if (owner_.getKind() != kind_ || owner_.getNumBeads() != beads_)
            throw OpenMMException("FPForce: the context has a model of kind " + kind_ + " with " + std::to_string(beads_) +
                                  " beads, the new one is of kind " + owner_.getKind() + " with " + std::to_string(owner_.getNumBeads()) +
                                  "; call Context::reinitialize() instead");
        if (owner_.getNumReplicas() != replicas_ || flattened(owner_) != particles_ || owner_.getTerms() != terms_ ||
            nameOfScaleParameter(owner_) != scaleParameter_)
            throw OpenMMException(
                "FPForce: replicas, terms or scale parameter have changed since the context was created; call "
                "Context::reinitialize() instead");
        if (onDevice_)
            kernel_.getAs<CalcFPForceKernel>().copyParametersToContext(owner_);
        else
            evaluator_ = makeEvaluator();
    });
    context.systemChanged();
}

}  // namespace FPForcePlugin
