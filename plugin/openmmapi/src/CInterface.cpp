/**
 * FPForce for languages without a C++ compiler, by functions with C linkage; fpforce.plugin calls them through ctypes.
 *
 * `force` and `context` are the addresses of an FPForce and of an OpenMM::Context. No exception leaves these functions: those
 * that can fail return null, or the reason, which is good until the same thread's next call. Other pointers handed out
 * are good until the force is changed or deleted.
 */

#include <cstddef>
#include <sstream>
#include <string>

#include "openmm/OpenMMException.h"
#include "openmm/serialization/XmlSerializer.h"

#include "Evaluator.h"
#include "FPForce.h"
#include "Registration.h"

using FPForcePlugin::FPForce;

namespace {

FPForce& at(void* force) {
    return *static_cast<FPForce*>(static_cast<OpenMM::Force*>(force));
}

const char* kept(const std::string& text) {
    static thread_local std::string last;
    last = text;
    return last.c_str();
}

/** Runs work(); null, or the message of what it threw. */
template <class Work>
const char* guarded(Work&& work) {
    try {
        work();
        return nullptr;
    } catch (const std::exception& error) {
        return kept(error.what());
    } catch (...) {
        return "unknown error";
    }
}

}  // namespace

extern "C" {

/** Null, or why the library cannot work with the OpenMM in this process. */
FPFORCE_EXPORT const char* fpforce_problem() {
    return guarded([] {
        if (!FPForcePlugin::registrationProblem().empty())
            throw OpenMM::OpenMMException(FPForcePlugin::registrationProblem());
    });
}

/** Null, or why this model cannot be evaluated on this machine. */
FPFORCE_EXPORT const char* fpforce_check_model(const char* description, std::size_t descriptionSize, const char* weights,
                                               std::size_t weightsSize) {
    return guarded([&] {
        using namespace FPForcePlugin;
        Evaluator::create(ModelFile::parse({description, descriptionSize}, {weights, weightsSize}), Precision::Single, 1);
    });
}

/** The XML of a new force without replicas, from which OpenMM's serializer makes an object of any language. */
FPFORCE_EXPORT const char* fpforce_new(const char* description, std::size_t descriptionSize, const char* weights, std::size_t weightsSize,
                                       const char** xml) {
    return guarded([&] {
        const FPForce force(std::string(description, descriptionSize), std::string(weights, weightsSize));
        std::ostringstream stream;
        OpenMM::XmlSerializer::serialize<OpenMM::Force>(&force, "Force", stream);
        *xml = kept(stream.str());
    });
}

/** Whether an OpenMM::Force is an FPForce. */
FPFORCE_EXPORT int fpforce_is(void* force) {
    return dynamic_cast<FPForce*>(static_cast<OpenMM::Force*>(force)) != nullptr;
}

FPFORCE_EXPORT const char* fpforce_set_model(void* force, const char* description, std::size_t descriptionSize, const char* weights,
                                             std::size_t weightsSize) {
    return guarded([&] { at(force).setModel(std::string(description, descriptionSize), std::string(weights, weightsSize)); });
}
FPFORCE_EXPORT const char* fpforce_description(void* force, std::size_t* size) {
    *size = at(force).getDescription().size();
    return at(force).getDescription().data();
}
FPFORCE_EXPORT const char* fpforce_weights(void* force, std::size_t* size) {
    *size = at(force).getWeights().size();
    return at(force).getWeights().data();
}
FPFORCE_EXPORT const char* fpforce_kind(void* force) {
    return at(force).getKind().c_str();
}
FPFORCE_EXPORT int fpforce_num_beads(void* force) {
    return at(force).getNumBeads();
}

FPFORCE_EXPORT const char* fpforce_add_replica(void* force, const int* particles, int count, int* index) {
    return guarded([&] { *index = at(force).addReplica(std::vector<int>(particles, particles + count)); });
}
FPFORCE_EXPORT int fpforce_num_replicas(void* force) {
    return at(force).getNumReplicas();
}
FPFORCE_EXPORT const char* fpforce_replica_particles(void* force, int index, const int** particles, int* count) {
    return guarded([&] {
        const std::vector<int>& members = at(force).getReplicaParticles(index);
        *particles = members.data();
        *count = static_cast<int>(members.size());
    });
}
FPFORCE_EXPORT const char* fpforce_set_replica_particles(void* force, int index, const int* particles, int count) {
    return guarded([&] { at(force).setReplicaParticles(index, std::vector<int>(particles, particles + count)); });
}

FPFORCE_EXPORT int fpforce_precision(void* force) {
    return at(force).getPrecision();
}
FPFORCE_EXPORT const char* fpforce_set_precision(void* force, int precision) {
    return guarded([&] { at(force).setPrecision(static_cast<FPForce::Precision>(precision)); });
}
FPFORCE_EXPORT int fpforce_num_threads(void* force) {
    return at(force).getNumThreads();
}
FPFORCE_EXPORT const char* fpforce_set_num_threads(void* force, int threads) {
    return guarded([&] { at(force).setNumThreads(threads); });
}
FPFORCE_EXPORT int fpforce_terms(void* force) {
    return at(force).getTerms();
}
FPFORCE_EXPORT const char* fpforce_set_terms(void* force, int terms) {
    return guarded([&] { at(force).setTerms(static_cast<FPForce::Terms>(terms)); });
}
FPFORCE_EXPORT const char* fpforce_scale_parameter(void* force) {
    return at(force).getScaleParameter().c_str();
}
FPFORCE_EXPORT const char* fpforce_set_scale_parameter(void* force, const char* name) {
    return guarded([&] { at(force).setScaleParameter(name); });
}
FPFORCE_EXPORT double fpforce_default_scale(void* force) {
    return at(force).getDefaultScale();
}
FPFORCE_EXPORT const char* fpforce_set_default_scale(void* force, double scale) {
    return guarded([&] { at(force).setDefaultScale(scale); });
}

FPFORCE_EXPORT const char* fpforce_update_parameters_in_context(void* force, void* context) {
    return guarded([&] { at(force).updateParametersInContext(*static_cast<OpenMM::Context*>(context)); });
}

FPFORCE_EXPORT const char* fpforce_evaluation_in_context(void* force, void* context, const char** evaluation) {
    return guarded([&] { *evaluation = kept(at(force).getEvaluationInContext(*static_cast<OpenMM::Context*>(context))); });
}

}  // extern "C"
