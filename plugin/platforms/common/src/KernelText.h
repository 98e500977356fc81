#ifndef FPFORCE_KERNEL_TEXT_H_
#define FPFORCE_KERNEL_TEXT_H_

#include <string>

namespace FPForcePlugin {
namespace KernelText {

/**
 * The files in kernels/, which the platform's compiler reads when a Context is made; `beads` comes before each of the others, and the
 * parts of `internal` and of the graph before these.
 */
extern const std::string beads, prior, internal_windows, internal, graph_layout, graph_forward, graph_backward, graph;

}  // namespace KernelText
}  // namespace FPForcePlugin

#endif
