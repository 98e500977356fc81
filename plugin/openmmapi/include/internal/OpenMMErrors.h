#ifndef FPFORCE_OPENMM_ERRORS_H_
#define FPFORCE_OPENMM_ERRORS_H_

#include <exception>
#include <new>
#include <string>

#include "openmm/OpenMMException.h"

namespace FPForcePlugin {

/**
 * Returns work(). Whatever it throws leaves as an OpenMMException, the only exception that OpenMM's own threads catch;
 * another would end the process.
 */
template <class Work>
auto withOpenMMErrors(Work&& work) -> decltype(work()) {
    try {
        return work();
    } catch (const OpenMM::OpenMMException&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw OpenMM::OpenMMException("FPForce: there is not enough memory for the evaluation; take fewer replicas or threads");
    } catch (const std::exception& error) {
        throw OpenMM::OpenMMException(std::string("FPForce: ") + error.what());
    } catch (...) {
        throw OpenMM::OpenMMException("FPForce: unknown error");
    }
}

}  // namespace FPForcePlugin

#endif
