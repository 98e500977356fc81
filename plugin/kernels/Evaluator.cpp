#include "Evaluator.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <thread>
#include <vector>

#include "ModelError.h"
#include "ThreadTeam.h"
#include "energy/Kernels.h"

namespace FPForcePlugin {

namespace {

enum class Isa { Portable, X86_64_v3, X86_64_v4 };

const char* nameOf(Isa isa) {
    return isa == Isa::X86_64_v4 ? "x86-64-v4" : isa == Isa::X86_64_v3 ? "x86-64-v3" : "portable";
}

bool processorHas(Isa isa) {
#ifdef FPFORCE_X86_64
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return isa == Isa::Portable || (v3 && (isa == Isa::X86_64_v3 || v4));
#else
    return isa == Isa::Portable;
#endif
}

Isa chooseIsa() {
    const char* forced = std::getenv("FPFORCE_ISA");
    for (Isa isa : {Isa::X86_64_v4, Isa::X86_64_v3, Isa::Portable}) {
        if (forced == nullptr || *forced == '\0') {
            if (processorHas(isa))
                return isa;
        } else if (std::string(forced) == nameOf(isa)) {
            if (!processorHas(isa))
                throw ModelError("FPFORCE_ISA=" + std::string(forced) + ": this processor lacks these instructions; unset it");
            return isa;
        }
    }
    throw ModelError("FPFORCE_ISA=" + std::string(forced) + " is not one of portable, x86-64-v3, x86-64-v4");
}

template <class Real>
const KernelTable<Real>& tableOf(Isa isa) {
#ifdef FPFORCE_X86_64
    if (isa == Isa::X86_64_v4)
        return x86_64_v4::kernelTable<Real>();
    if (isa == Isa::X86_64_v3)
        return x86_64_v3::kernelTable<Real>();
#endif
    (void)isa;
    return portable::kernelTable<Real>();
}

int threadsOfMachine() {
    if (const char* wanted = std::getenv("OPENMM_CPU_THREADS"))
        if (const int count = std::atoi(wanted); count > 0)
            return count;
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/** Multiply-adds that make sharing a call worth waking another thread: some 40 us of one, about as long as a sleeper takes to wake. */
constexpr double breakEven = 1.5e6;

template <class Real>
class HostEvaluator : public Evaluator {
public:
    HostEvaluator(const ModelFile& model, Isa isa, int threads, Terms terms)
        : isa_(isa), table_(tableOf<Real>(isa)), beads_(model.beads()), inverseLength_(1.0 / model.scaleNm()), kT_(model.ktKjPerMol()) {
        const NoiseLevel level(model.tEval());
        if (terms != Terms::Network && PriorPlan::isIn(model))
            prior_.emplace(model, level);
        double work = 0.0;
        if (terms != Terms::Prior) {
            if (model.kind() == "internal") {
                internal_.emplace(model, table_.panel);
                work = internal_->multiplyAdds();
                smallestBlock_ = 8;  // rows of a matrix product: fewer leave registers idle
            } else {
                graph_.emplace(model, level, table_.panel, table_.lanes);
                work = graph_->multiplyAdds();
            }
        }
        blockReplicas_ = std::clamp(static_cast<int>(blockWork / std::max(work, 1.0)), 1, largestBlock);
        if (blockReplicas_ >= smallestBlock_) {
            unit_ = smallestBlock_;
            blockReplicas_ = (blockReplicas_ + unit_ / 2) / unit_ * unit_;
        }
        chooseThreads_ = threads == 0;
        replicasToShare_ = static_cast<int>(std::min(1e9, breakEven / std::max(work, 1.0))) + 1;
        team_ = std::make_unique<ThreadTeam>(chooseThreads_ ? threadsOfMachine() : threads);
    }

    int beads() const override {
        return beads_;
    }
    const char* isa() const override {
        return nameOf(isa_);
    }
    std::size_t workspaceBytes() const override {
        return (networkEnergies_.size() + priorEnergies_.size()) * sizeof(double) + workspace_.size();
    }

    Energy evaluate(const double* positions, int replicas, double networkScale, double priorScale, double* forces) override {
        if (replicas <= 0)
            return {};
        const int workers = chooseThreads_ && replicas < replicasToShare_ ? 1 : team_->size();
        const int parts = partsOf(replicas, workers);
        const int memories = std::min(workers, parts);
        const int units = unitsOf(replicas);
        reserve(replicas, std::min(replicas, unit_ * ((units + parts - 1) / parts)), memories);
        const auto begin = [&](int index) {
            return std::min(replicas, unit_ * static_cast<int>(static_cast<std::int64_t>(units) * index / parts));
        };
        const auto part = [&](int index, int worker) {
            const int first = begin(index), count = begin(index + 1) - first;
            const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(first) * beads_ * 3;
            std::fill_n(forces + offset, static_cast<std::ptrdiff_t>(count) * beads_ * 3, 0.0);
            char* memory = workspace_.data() + static_cast<std::size_t>(parts <= memories ? index : worker) * workerBytes_;
            Batch batch = {positions + offset, forces + offset, networkEnergies_.data() + first, count, beads_, inverseLength_, kT_,
                           networkScale};
            if (internal_)
                table_.internal(*internal_, batch, memory);
            if (graph_)
                table_.graphTransformer(*graph_, batch, memory);
            batch.energies = priorEnergies_.data() + first;
            batch.scale = priorScale;
            if (prior_)
                table_.prior(*prior_, batch, memory);
        };
        if (workers == 1)
            for (int index = 0; index < parts; ++index)
                part(index, 0);
        else
            team_->run(parts, part);
        Energy total;
        for (int r = 0; r < replicas; ++r) {
            total.network += networkEnergies_[static_cast<std::size_t>(r)];
            total.prior += priorEnergies_[static_cast<std::size_t>(r)];
        }
        return total;
    }

private:
    /** Multiply-adds, and replicas, beyond which a block gains nothing from being larger. */
    static constexpr double blockWork = 6e6;
    static constexpr int largestBlock = 64;
    /** Parts for each thread, so that one that is held up can leave some to the others. */
    static constexpr int partsPerWorker = 4;

    /**
     * How many parts the replicas are cut into, all of one size within a unit: of a block at most, and where threads share
     * them, as many for each thread, of `smallestBlock_` at least.
     */
    int partsOf(int replicas, int workers) const {
        const int fewest = (replicas + blockReplicas_ - 1) / blockReplicas_;
        const int most = std::max(fewest, replicas / smallestBlock_);
        if (workers == 1 || most < workers)
            return workers == 1 ? fewest : std::max(most, 1);
        const int each = std::max((fewest + workers - 1) / workers, std::min(partsPerWorker, most / workers));
        return std::min(unitsOf(replicas), workers * each);
    }
    /** A unit fills the lanes in which geometry is worked out, whatever the instruction set; where a block holds fewer, it is one replica. */
    int unitsOf(int replicas) const {
        return (replicas + unit_ - 1) / unit_;
    }

    void reserve(int replicas, int block, int memories) {
        if (static_cast<std::size_t>(replicas) > networkEnergies_.size()) {
            networkEnergies_ = AlignedBuffer<double>(static_cast<std::size_t>(replicas));
            priorEnergies_ = AlignedBuffer<double>(static_cast<std::size_t>(replicas));
        }
        if (block != preparedBlock_) {
            std::size_t bytes = 0;
            if (internal_)
                bytes = std::max(bytes, table_.internalWorkspace(*internal_, block));
            if (graph_)
                bytes = std::max(bytes, table_.graphTransformerWorkspace(*graph_, block));
            if (prior_)
                bytes = std::max(bytes, table_.priorWorkspace(*prior_));
            workerBytes_ = (bytes + 127) / 64 * 64;
            preparedBlock_ = block;
        }
        const std::size_t bytes = workerBytes_ * static_cast<std::size_t>(memories);
        if (bytes > workspace_.size())
            workspace_ = AlignedBuffer<char>(bytes);
    }

    Isa isa_;
    const KernelTable<Real>& table_;
    int beads_;
    double inverseLength_, kT_;
    std::optional<PriorPlan> prior_;
    std::optional<InternalPlan<Real>> internal_;
    std::optional<GraphTransformerPlan<Real>> graph_;
    int blockReplicas_ = 1, smallestBlock_ = 1, unit_ = 1, replicasToShare_ = 1, preparedBlock_ = 0;
    bool chooseThreads_ = false;
    std::unique_ptr<ThreadTeam> team_;
    AlignedBuffer<double> networkEnergies_, priorEnergies_;
    AlignedBuffer<char> workspace_;
    std::size_t workerBytes_ = 0;
};

}  // namespace

bool evaluatorSupports(const std::string& kind) {
    return kind == "internal" || kind == "graph_transformer";
}

std::unique_ptr<Evaluator> Evaluator::create(const ModelFile& model, Precision precision, int threads, Terms terms) {
    if (!evaluatorSupports(model.kind()))
        throw ModelError("fpforce.json: model.kind is " + inQuotes(model.kind()) +
                         "; the native evaluation knows internal and graph_transformer: use another backend");
    if (threads < 0)
        throw ModelError("threads = " + std::to_string(threads) + "; give a number of threads, or 0 for automatic");
    const Isa isa = chooseIsa();
    if (precision == Precision::Double)
        return std::make_unique<HostEvaluator<double>>(model, isa, threads, terms);
    return std::make_unique<HostEvaluator<float>>(model, isa, threads, terms);
}

}  // namespace FPForcePlugin
