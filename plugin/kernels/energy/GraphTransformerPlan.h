#ifndef FPFORCE_ENERGY_GRAPH_TRANSFORMER_PLAN_H_
#define FPFORCE_ENERGY_GRAPH_TRANSFORMER_PLAN_H_

#include <array>
#include <vector>

#include "../PackedMatrix.h"
#include "../model/ModelFile.h"
#include "Noise.h"

namespace FPForcePlugin {

/**
 * The `graph_transformer` network at the time of evaluation (see training/models/graph_transformer.py), all that depends on
 * the time and on the molecule alone folded into constants:
 *
 *     LayerNorm's scale and shift, and 1/sqrt(head width), lie in the linear layer that follows;
 *     the nodes h_0 are constant, and so are the first layer's queries, keys and values and all of its logits that do not
 *     depend on geometry;
 *     an edge's features are `geometric` functions of the positions and `classes` constants.
 *
 * Matrices act on rows from the right. Heads are padded to whole vectors of `lanes` elements.
 */
template <class Real>
struct GraphTransformerPlan {
    static constexpr int radial = 16, geometric = 32, separations = 10, classes = 16, edge = geometric + classes;

    /** A linear layer, packed once for both ways, with the bias padded like its columns. */
    struct Linear {
        PackedMatrix<Real> weight;
        AlignedBuffer<Real> bias;
    };
    /** Per head: headWidth x edge (toEdge) and edge x headRow (fromEdge) matrices, row-major, head after head. */
    struct EdgeMap {
        AlignedBuffer<Real> toEdge, fromEdge;
    };
    struct Layer {
        Linear attention;  // width -> queries, keys, values (projectedRow); empty in layer 0, where these are constant
        EdgeMap query;     // A_h: queries meet edges in the logits; likewise
        EdgeMap value;     // B_h: edges join the values
        Linear out;        // headsRow -> width
        Linear up, down;   // width -> hidden -> width
    };

    int beads = 0, width = 0, heads = 0, headWidth = 0;
    int rowLength = 0;     // of a node, padded to whole panels
    int hiddenLength = 0;  // of a node in the wide layer
    int headRow = 0;       // of a head, padded to whole vectors
    int headsWidth = 0;    // of all heads: heads x headRow
    int headsRow = 0, projectedRow = 0;  // headsWidth and 3 headsWidth, padded to whole panels
    int pairRow = 0;  // beads, padded to whole vectors

    double squaredLength = 0.0, axisLength = 0.0, axisArea = 0.0;  // added to squared lengths and areas
    std::array<Real, radial> centres{};
    Real radialFactor = 0;
    AlignedBuffer<double> distanceMeans, distanceFactors;  // beads x pairRow: (distance - mean) factor is a feature
    std::vector<int> frames;                         // beads x 3
    AlignedBuffer<Real> classRows, classColumns;     // per bead i: classes x pairRow and beads x classes

    AlignedBuffer<Real> nodes;                       // h_0: beads x rowLength
    AlignedBuffer<Real> firstAttention;              // of layer 0: beads x projectedRow
    AlignedBuffer<Real> firstEdgeQueries;            // of layer 0: beads x heads x edge
    AlignedBuffer<Real> firstLogits;                 // of layer 0: beads x heads x pairRow

    std::vector<Layer> layers;
    Linear last;
    AlignedBuffer<Real> out;
    double constant = 0.0;

    /** Multiply-adds of one replica's energy and force. */
    double multiplyAdds() const;
    /** panel, lanes: the columns in a panel of the matrix product that will be used, and in one of its vectors. */
    GraphTransformerPlan(const ModelFile& model, const NoiseLevel& level, int panel, int lanes);

private:
    typedef std::vector<double> Values;
    void readGeometry(const ModelFile& model, const NoiseLevel& level);
    void readClasses(const ModelFile& model);
    void readLayers(const ModelFile& model, const Values& time, int panel);
    void readHead(const ModelFile& model, const Values& time, double signal, int panel);
    /** Fills `nodes` and returns them in float64. */
    std::vector<Values> readNodes(const ModelFile& model, const Values& time);
    /** rows: queries, keys and values of the first layer; places: where they go in a padded row. */
    void fixFirstAttention(const std::vector<Values>& rows, const std::vector<int>& places, const Values& queryEdges);
};

}  // namespace FPForcePlugin

#endif
