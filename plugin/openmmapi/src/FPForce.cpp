#include "FPForce.h"

#include <cmath>

#include "internal/FPForceImpl.h"
#include "internal/OpenMMErrors.h"
#include "model/ModelFile.h"

using OpenMM::OpenMMException;

namespace FPForcePlugin {

FPForce::FPForce(const std::string& description, const std::string& weights) {
    setName("FPForce");
    setModel(description, weights);
}

void FPForce::setModel(const std::string& description, const std::string& weights) {
    withOpenMMErrors([&] {
        const ModelFile model = ModelFile::parse(description, weights);
        std::string kind = model.kind(), newDescription = description, newWeights = weights;
        beads_ = model.beads();
        kind_.swap(kind);
        description_.swap(newDescription);
        weights_.swap(newWeights);
    });
}

int FPForce::addReplica(const std::vector<int>& particles) {
    replicas_.push_back(particles);
    return getNumReplicas() - 1;
}

const std::vector<int>& FPForce::getReplicaParticles(int index) const {
    requireReplica(index);
    return replicas_[static_cast<std::size_t>(index)];
}

void FPForce::setReplicaParticles(int index, const std::vector<int>& particles) {
    requireReplica(index);
    replicas_[static_cast<std::size_t>(index)] = particles;
}

void FPForce::requireReplica(int index) const {
    if (index < 0 || index >= getNumReplicas())
        throw OpenMMException("FPForce: there is no replica " + std::to_string(index) + "; the force has " +
                              std::to_string(getNumReplicas()));
}

void FPForce::setPrecision(Precision precision) {
    if (precision != Single && precision != Double)
        throw OpenMMException("FPForce: precision is " + std::to_string(static_cast<int>(precision)) + "; give Single or Double");
    precision_ = precision;
}

void FPForce::setNumThreads(int threads) {
    if (threads < 0)
        throw OpenMMException("FPForce: the number of threads is " + std::to_string(threads) + "; give 1 or more, or 0 for automatic");
    threads_ = threads;
}

void FPForce::setTerms(Terms terms) {
    if (terms != All && terms != Network && terms != Prior)
        throw OpenMMException("FPForce: terms is " + std::to_string(static_cast<int>(terms)) + "; give All, Network or Prior");
    terms_ = terms;
}

const std::string& FPForce::Scale() {
    static const std::string name = "fpforce_scale";
    return name;
}

void FPForce::setScaleParameter(const std::string& name) {
    scaleParameter_ = name;
}

void FPForce::setDefaultScale(double scale) {
    if (!std::isfinite(scale))
        throw OpenMMException("FPForce: the default scale is not finite; give a number, usually between 0 and 1");
    defaultScale_ = scale;
}

void FPForce::updateParametersInContext(OpenMM::Context& context) {
    dynamic_cast<FPForceImpl&>(getImplInContext(context)).updateParametersInContext(getContextImpl(context));
}

std::string FPForce::getEvaluationInContext(OpenMM::Context& context) const {
    return dynamic_cast<const FPForceImpl&>(getImplInContext(context)).evaluation();
}

OpenMM::ForceImpl* FPForce::createImpl() const {
    return new FPForceImpl(*this);
}

}  // namespace FPForcePlugin
