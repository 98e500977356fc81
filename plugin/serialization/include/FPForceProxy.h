#ifndef FPFORCE_FPFORCEPROXY_H_
#define FPFORCE_FPFORCEPROXY_H_

#include "openmm/serialization/SerializationProxy.h"

namespace FPForcePlugin {

/**
 * An FPForce as XML and back. The XML holds the whole force field, its model as base64 text, and comes back bit for bit:
 *
 *     <Force type="FPForce" version="1" name= forceGroup= precision= threads= terms= scaleParameter= defaultScale= >
 *         <Model description= weights= />
 *         <Replicas> <Replica particles="0 1 2 3 4"/> ... </Replicas>
 *     </Force>
 */
class FPForceProxy : public OpenMM::SerializationProxy {
public:
    FPForceProxy();
    void serialize(const void* object, OpenMM::SerializationNode& node) const override;
    /** Throws OpenMMException naming the property that is missing or damaged. */
    void* deserialize(const OpenMM::SerializationNode& node) const override;
};

}  // namespace FPForcePlugin

#endif
