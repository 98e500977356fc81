// The network of kind `graph_transformer`, first part: what lies where in memory, which steps there are, and what several of them use. See
// graph.cc.

#define ROWS (SLOTS*BEADS)
#define HEADS (WIDTH/HEAD_WIDTH)
#define RADIAL 16
#define GEOMETRIC 32
#define EDGE 48

// What lies where in `constants`.
#define NODE_CONSTANTS 0
#define FIRST_PROJECTED (NODE_CONSTANTS+BEADS*WIDTH)
#define FIRST_EDGE_QUERIES (FIRST_PROJECTED+BEADS*3*WIDTH)
#define FIRST_LOGITS (FIRST_EDGE_QUERIES+BEADS*HEADS*EDGE)
#define CENTRES (FIRST_LOGITS+BEADS*HEADS*BEADS)
#define HEAD_FORWARD (CENTRES+RADIAL)
#define HEAD_BACKWARD (HEAD_FORWARD+WIDTH*WIDTH)
#define HEAD_BIAS (HEAD_BACKWARD+WIDTH*WIDTH)
#define OUTPUTS (HEAD_BIAS+WIDTH)
#define LAYER_CONSTANTS (OUTPUTS+WIDTH)
#define QKV_FORWARD 0
#define QKV_BACKWARD (QKV_FORWARD+3*WIDTH*WIDTH)
#define QKV_BIAS (QKV_BACKWARD+3*WIDTH*WIDTH)
#define QUERY_TO_EDGE (QKV_BIAS+3*WIDTH)
#define QUERY_FROM_EDGE (QUERY_TO_EDGE+WIDTH*EDGE)
#define VALUE_TO_EDGE (QUERY_FROM_EDGE+WIDTH*EDGE)
#define VALUE_FROM_EDGE (VALUE_TO_EDGE+WIDTH*EDGE)
#define OUT_FORWARD (VALUE_FROM_EDGE+WIDTH*EDGE)
#define OUT_BACKWARD (OUT_FORWARD+WIDTH*WIDTH)
#define OUT_BIAS (OUT_BACKWARD+WIDTH*WIDTH)
#define UP_FORWARD (OUT_BIAS+WIDTH)
#define UP_BACKWARD (UP_FORWARD+2*WIDTH*WIDTH)
#define UP_BIAS (UP_BACKWARD+2*WIDTH*WIDTH)
#define DOWN_FORWARD (UP_BIAS+2*WIDTH)
#define DOWN_BACKWARD (DOWN_FORWARD+2*WIDTH*WIDTH)
#define DOWN_BIAS (DOWN_BACKWARD+2*WIDTH*WIDTH)
#define CONSTANTS_OF_LAYER (DOWN_BIAS+WIDTH)

// What lies where in `scratch`, in numbers a row; `layer` stands for the layer at hand.
#define NODES 0
#define SLOPES (NODES+WIDTH)
#define ALONG (SLOPES+WIDTH)
#define HIDDEN (ALONG+WIDTH)
#define LAST (HIDDEN+2*WIDTH)
#define LAST_FACTOR (LAST+WIDTH)
#define HEAD_SUMS (LAST_FACTOR+1)
#define EDGE_SUMS (HEAD_SUMS+WIDTH)
#define QUERY_SLOPES (EDGE_SUMS+HEADS*EDGE)
#define PAIR_SLOPES (QUERY_SLOPES+HEADS*EDGE)
#define PROJECTED_SLOPES (PAIR_SLOPES+HEADS*BEADS)
#define AXES (PROJECTED_SLOPES+3*WIDTH)
#define FEATURES (AXES+9)
#define FEATURE_SLOPES (FEATURES+GEOMETRIC*BEADS)
#define BEFORE (FEATURE_SLOPES+GEOMETRIC*BEADS+layer*ROW_OF_LAYER)
#define BEFORE_FACTOR (BEFORE+WIDTH)
#define PROJECTED (BEFORE_FACTOR+1)
#define EDGE_QUERIES (PROJECTED+3*WIDTH)
#define WEIGHTS (EDGE_QUERIES+HEADS*EDGE)
#define MIDDLE (WEIGHTS+HEADS*BEADS)
#define MIDDLE_FACTOR (MIDDLE+WIDTH)
#define UP_SLOPES (MIDDLE_FACTOR+1)
#define ROW_OF_LAYER (7*WIDTH+2+HEADS*EDGE+HEADS*BEADS)
#define IN_SCRATCH(place) (scratch+(place)*ROWS)

// And in `geometry`, likewise.
#define POSITION_NM 0
#define GRADIENT 3
#define FRAME_SLOPES 15

// The steps. Those of layers are in blocks, `layer` by `layer`, first forwards and then backwards.
#define STEPS_BEFORE 3
#define STEPS_FORWARD 11
#define STEPS_HEAD 4
#define STEPS_BACKWARD 11
#define STEPS_AFTER 4
#define HEAD_STEP (STEPS_BEFORE+LAYERS*STEPS_FORWARD)
#define STEPS (HEAD_STEP+STEPS_HEAD+LAYERS*STEPS_BACKWARD+STEPS_AFTER)
// Numbers of the kinds of step: 0.. before, 10.. forward, 30.. head, 40.. backward, 60.. after.
#define KIND_OF(step) ((step) < STEPS_BEFORE ? (step) : \
        (step) < HEAD_STEP ? 10+((step)-STEPS_BEFORE)%STEPS_FORWARD : \
        (step) < HEAD_STEP+STEPS_HEAD ? 30+(step)-HEAD_STEP : \
        (step) < STEPS-STEPS_AFTER ? 40+((step)-HEAD_STEP-STEPS_HEAD)%STEPS_BACKWARD : 60+(step)-(STEPS-STEPS_AFTER))
#define LAYER_OF(step) ((step) < STEPS_BEFORE || (step) >= STEPS-STEPS_AFTER ? 0 : \
        (step) < HEAD_STEP ? ((step)-STEPS_BEFORE)/STEPS_FORWARD : \
        LAYERS-1-((step)-HEAD_STEP-STEPS_HEAD)/STEPS_BACKWARD)

#define FOR(index, count) for (int index = id; index < (count); index += size)
#define FOR_ROWS(row) for (int row = firstRow+id; row < firstRow+rows; row += size)

// value = sum over k < depth of input[row*depth+k]*weights[k*columns+column] for every row and column, and then `use`. A thread owns
// ROWS_AT_ONCE rows of one column, so that it reads a weight once for them.
#define PRODUCT(depth, columns, weights, input, use) \
    FOR(index, (rows+ROWS_AT_ONCE-1)/ROWS_AT_ONCE*(columns)) { \
        const int column = index%(columns), first = firstRow+index/(columns)*ROWS_AT_ONCE; \
        int inputs[ROWS_AT_ONCE]; \
        wreal total[ROWS_AT_ONCE]; \
        for (int t = 0; t < ROWS_AT_ONCE; t++) { \
            inputs[t] = (first+t < firstRow+rows ? first+t : firstRow+rows-1)*(depth); \
            total[t] = 0; \
        } \
        for (int k = 0; k < (depth); k++) { \
            const wreal weight = (weights)[k*(columns)+column]; \
            for (int t = 0; t < ROWS_AT_ONCE; t++) \
                total[t] += weight*(input)[inputs[t]+k]; \
        } \
        for (int t = 0; t < ROWS_AT_ONCE; t++) \
            if (first+t < firstRow+rows) { \
                const int row = first+t; \
                const wreal value = total[t]; \
                use \
            } \
    }

// normalised = (h - mean)/sqrt(variance + epsilon), with the factor kept for the way back.
DEVICE inline void normaliseRow(GLOBAL const wreal* h, GLOBAL wreal* normalised, GLOBAL wreal* factor) {
    wreal mean = 0, variance = 0;
    for (int k = 0; k < WIDTH; k++)
        mean += h[k];
    mean *= (wreal) 1.0f/WIDTH;
    for (int k = 0; k < WIDTH; k++)
        variance += (h[k]-mean)*(h[k]-mean);
    *factor = (wreal) (1.0f/sqrt(variance*((wreal) 1.0f/WIDTH) + (wreal) NORM_EPSILON));
    for (int k = 0; k < WIDTH; k++)
        normalised[k] = (h[k]-mean)*(*factor);
}

// slopes += the way back through normaliseRow of `along`, the slopes along its result.
DEVICE inline void normaliseRowBackward(GLOBAL const wreal* normalised, wreal factor, GLOBAL const wreal* along, GLOBAL wreal* slopes) {
    wreal mean = 0, share = 0;
    for (int k = 0; k < WIDTH; k++) {
        mean += along[k];
        share += along[k]*normalised[k];
    }
    mean *= (wreal) 1.0f/WIDTH;
    share *= (wreal) 1.0f/WIDTH;
    for (int k = 0; k < WIDTH; k++)
        slopes[k] += factor*(along[k]-mean-share*normalised[k]);
}

// sum over the edges of a bead of weights (beads) times feature k; the features from GEOMETRIC on are 1 for an edge's two classes, else 0.
DEVICE inline wreal sumOverEdges(GLOBAL const wreal* weights, GLOBAL const wreal* features, GLOBAL const int* classes, int k) {
    wreal sum = 0;
    if (k < GEOMETRIC)
        for (int j = 0; j < BEADS; j++)
            sum += weights[j]*features[k*BEADS+j];
    else
        for (int j = 0; j < BEADS; j++)
            if (classes[2*j] == k-GEOMETRIC || classes[2*j+1] == k-GEOMETRIC)
                sum += weights[j];
    return sum;
}

DEVICE inline mixed3 vectorAt(GLOBAL const mixed* v) {
    return make_mixed3(v[0], v[1], v[2]);
}

// The vectors that define the local axes of a bead, and what divides them.
typedef struct {
    mixed3 first, second, sum, difference, normal;
    mixed sumNorm, differenceNorm, normalNorm;
} Axes;

DEVICE inline Axes axesOf(GLOBAL const mixed* r_nm, int start, GLOBAL const int* frame) {
    Axes axes;
    axes.first = BETWEEN(r_nm, start+frame[1], start+frame[0]);
    axes.second = BETWEEN(r_nm, start+frame[2], start+frame[1]);
    axes.sum = axes.first+axes.second;
    axes.difference = axes.second-axes.first;
    axes.normal = cross(axes.first, axes.second);
    axes.sumNorm = 1.0f/sqrt(dot(axes.sum, axes.sum)+AXIS_LENGTH);
    axes.differenceNorm = 1.0f/sqrt(dot(axes.difference, axes.difference)+AXIS_LENGTH);
    axes.normalNorm = 1.0f/sqrt(dot(axes.normal, axes.normal)+AXIS_AREA);
    return axes;
}

// The slope along v, given the slope along v times `norm`, one over its smoothed length.
DEVICE inline mixed3 throughNorm(mixed3 v, mixed norm, mixed3 slope) {
    return norm*slope - (dot(v, slope)*norm*norm*norm)*v;
}

#ifdef USE_MIXED_PRECISION
#define POSITIONS_AND_RESULTS_AGAIN posq, posqCorrection, particles, forceBuffers, energyBuffer
#else
#define POSITIONS_AND_RESULTS_AGAIN posq, particles, forceBuffers, energyBuffer
#endif
#define GRAPH_ARGUMENTS POSITIONS_AND_RESULTS, GLOBAL const int* RESTRICT frames, GLOBAL const int* RESTRICT frameStart, \
        GLOBAL const int* RESTRICT framesOf, GLOBAL const int* RESTRICT classes, GLOBAL const mixed* RESTRICT distances, \
        GLOBAL const wreal* RESTRICT constants, GLOBAL mixed* geometry, GLOBAL wreal* scratch, mixed scale, int includeForces, \
        int includeEnergy
#define GRAPH_ARGUMENTS_AGAIN POSITIONS_AND_RESULTS_AGAIN, frames, frameStart, framesOf, classes, distances, constants, geometry, scratch, \
        scale, includeForces, includeEnergy

// Of a step: its kind and layer; the rows [firstRow, firstRow+rows), whose particles begin `shift` places behind; `size` threads, of which
// this is number `id`.
#define STEP_ARGUMENTS int kind, int layer, int id, int size, int firstRow, int rows, int shift, GRAPH_ARGUMENTS
