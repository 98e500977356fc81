#ifndef FPFORCE_FPFORCE_H_
#define FPFORCE_FPFORCE_H_

#include <string>
#include <vector>

#include "openmm/Context.h"
#include "openmm/Force.h"

#include "FPForceExport.h"

namespace FPForcePlugin {

/**
 * The free energy of coarse-grained molecules, learned by a diffusion model:
 *
 *     U = sum over replicas of [ prior + fpforce_scale * network ]        (kJ/mol, positions in nm)
 *
 * where the prior includes the wall of a model that has one. The model comes as the two entries of a force field file: its
 * description (fpforce.json) and its weights (fpforce.safetensors). It describes one molecule of getNumBeads() beads; every replica is one such molecule, made of
 * any particles of the System, in the order of the model's beads. Replicas do not interact. Particles in no replica feel
 * nothing of this Force.
 *
 * `fpforce_scale` is a global parameter of the Context. It scales what the network has learned and leaves the bonded
 * prior, so that the learned part can be switched on gradually. U is a free energy at the temperature of the training data
 * only: integrate with a thermostat at that temperature.
 *
 * On the platforms OpenCL, CUDA and HIP models are computed on the device. On other platforms they are evaluated on the host's
 * processor; so are those in a Context with several devices, and where the device is that processor. The environment variable FPFORCE_DEVICE = "host" has all evaluated there, and "kernel" uses such a device too. The
 * energy depends only on positions: Contexts that are copied, checkpointed or restored give the same forces bit for bit. It is
 * not periodic. It does not report derivatives with respect to fpforce_scale to State; to have them, put one Force with the
 * network and one with the prior into a CustomCVForce (setTerms(), setScaleParameter()).
 */
class FPFORCE_EXPORT FPForce : public OpenMM::Force {
public:
    /**
     * Floating-point type of the network. On the host geometry, prior and sums over replicas are always in double precision; on a
     * device they are in single where the Platform's own Precision is "single".
     */
    enum Precision { Single = 0, Double = 1 };
    /** Which parts of the energy this Force adds. */
    enum Terms { All = 0, Network = 1, Prior = 2 };

    /**
     * Create a Force without replicas; see setModel() for the arguments.
     */
    FPForce(const std::string& description, const std::string& weights);

    /**
     * Set the model. If a replica's number of particles no longer fits, creating a Context throws.
     *
     * @param description    the text of fpforce.json
     * @param weights        the bytes of fpforce.safetensors
     * @throws OpenMMException naming the entry at fault, if either is not well formed; the model is then unchanged
     */
    void setModel(const std::string& description, const std::string& weights);
    /** Get the description of the model, the text of fpforce.json. */
    const std::string& getDescription() const {
        return description_;
    }
    /** Get the weights of the model, the bytes of fpforce.safetensors. */
    const std::string& getWeights() const {
        return weights_;
    }
    /** Get the kind of the model, such as "internal". */
    const std::string& getKind() const {
        return kind_;
    }
    /** Get the number of beads of one molecule. */
    int getNumBeads() const {
        return beads_;
    }

    /**
     * Add a molecule.
     *
     * @param particles    the index of the particle of each bead, getNumBeads() in all; no particle may be used twice, here or
     *                     in another replica, which is checked when a Context is created
     * @return the index of the replica
     */
    int addReplica(const std::vector<int>& particles);
    /** Get the number of molecules. */
    int getNumReplicas() const {
        return static_cast<int>(replicas_.size());
    }
    /** Get the particles of a molecule, in the order of the model's beads. */
    const std::vector<int>& getReplicaParticles(int index) const;
    /** Set the particles of a molecule; see addReplica(). */
    void setReplicaParticles(int index, const std::vector<int>& particles);

    /** Get the floating-point type of the network. */
    Precision getPrecision() const {
        return precision_;
    }
    /** Set the floating-point type of the network. The default is Single. */
    void setPrecision(Precision precision);

    /** Get the number of threads that share the replicas, 0 for automatic. */
    int getNumThreads() const {
        return threads_;
    }
    /**
     * Set the number of threads that share the replicas, the calling one included. The default, 0, takes as many as the
     * machine has, or as OPENMM_CPU_THREADS says, where there is enough work to share. The forces do not depend on it.
     */
    void setNumThreads(int threads);

    /** Get which parts of the energy this Force adds. */
    Terms getTerms() const {
        return terms_;
    }
    /** Set which parts of the energy this Force adds. The default is All. */
    void setTerms(Terms terms);

    /** Get the name that getScaleParameter() has by default, "fpforce_scale". */
    static const std::string& Scale();
    /** Get the name of the global parameter that scales the network, or "" if nothing does. */
    const std::string& getScaleParameter() const {
        return scaleParameter_;
    }
    /**
     * Set the name of the global parameter that scales the network; "" for none. A Force whose Terms are Prior has no such
     * parameter whatever its name.
     */
    void setScaleParameter(const std::string& name);
    /** Get the value that the scale parameter has in a new Context, without dimension. */
    double getDefaultScale() const {
        return defaultScale_;
    }
    /** Set the value that the scale parameter has in a new Context, without dimension. The default is 1. */
    void setDefaultScale(double scale);

    /**
     * Copy the model, the precision and the number of threads to a Context that was created with this Force. The model must
     * be of the same kind and have as many beads as the one before. Everything else stays as it was when the Context was
     * created; if it has changed since, this throws, and Context::reinitialize() is what is needed.
     */
    void updateParametersInContext(OpenMM::Context& context);

    /**
     * Get where a Context that was created with this Force computes it: the name of its Platform if that does, in a kernel of its
     * own; otherwise "host", followed by ": " and a reason if the Platform is one that has such a kernel.
     */
    std::string getEvaluationInContext(OpenMM::Context& context) const;

    /** @return false: molecules must be whole, whatever the periodic box is. */
    bool usesPeriodicBoundaryConditions() const override {
        return false;
    }

protected:
    OpenMM::ForceImpl* createImpl() const override;

private:
    void requireReplica(int index) const;

    std::string description_, weights_, kind_;
    int beads_ = 0;
    std::vector<std::vector<int>> replicas_;
    Precision precision_ = Single;
    int threads_ = 0;
    Terms terms_ = All;
    std::string scaleParameter_ = Scale();
    double defaultScale_ = 1.0;
};

}  // namespace FPForcePlugin

#endif
