// The network of kind `graph_transformer`: GraphTransformerPlan.h has the equations, GraphTransformerKernel.h the same for the host, and
// docs/native-plugin.md the way back.
//
// The work is a list of steps. In each of them every item (a matrix element, an edge, a bead) is worked out by one thread from what earlier
// steps have left in `scratch`, so that nothing needs local memory. FUSED: a group goes through all steps for one molecule after another,
// with a barrier behind each. Otherwise all threads of the device share a step of all molecules, and each step is a launch.
//
// Row: a bead of a molecule in a slot of the scratch memory. FUSED has a slot for each group, otherwise each replica has one.

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

// One step of the rows [firstRow, firstRow+rows), whose particles begin `shift` places behind, shared by `size` threads of which this is
// number `id`. Returns this thread's part of the energy (kT).
DEVICE inline mixed graphStep(int step, int id, int size, int firstRow, int rows, int shift, GRAPH_ARGUMENTS) {
    const int layer = LAYER_OF(step);
    mixed energy = 0;
    GLOBAL const wreal* of = constants+LAYER_CONSTANTS+layer*CONSTANTS_OF_LAYER;
    GLOBAL mixed* r_nm = geometry+POSITION_NM*ROWS;
    switch (KIND_OF(step)) {

    // From positions to features.

    case 0:
        FOR_ROWS(row) {
            const int particle = particles[row+shift];
            r_nm[3*row] = COORDINATE_NM(particle, x);
            r_nm[3*row+1] = COORDINATE_NM(particle, y);
            r_nm[3*row+2] = COORDINATE_NM(particle, z);
        }
        FOR(index, rows*WIDTH)
            IN_SCRATCH(NODES)[firstRow*WIDTH+index] = constants[NODE_CONSTANTS+index%(BEADS*WIDTH)];
        break;
    case 1:
        FOR_ROWS(row) {
            const int bead = row%BEADS;
            const Axes a = axesOf(r_nm, row-bead, frames+3*bead);
            const mixed3 own[3] = {a.sumNorm*a.sum, a.differenceNorm*a.difference, a.normalNorm*a.normal};
            GLOBAL wreal* to = IN_SCRATCH(AXES)+9*row;
            for (int axis = 0; axis < 3; axis++) {
                to[3*axis] = (wreal) own[axis].x;
                to[3*axis+1] = (wreal) own[axis].y;
                to[3*axis+2] = (wreal) own[axis].z;
            }
        }
        break;
    case 2:
        FOR(index, rows*BEADS) {
            const int row = firstRow+index/BEADS, bead = row%BEADS, j = index%BEADS, other = row-bead+j;
            const mixed3 u = BETWEEN(r_nm, other, row);
            const mixed distance = sqrt(dot(u, u)+SQUARED_LENGTH);
            const mixed inverse = 1.0f/sqrt(dot(u, u)+AXIS_LENGTH);
            const wreal direction[3] = {(wreal) (inverse*u.x), (wreal) (inverse*u.y), (wreal) (inverse*u.z)};
            GLOBAL const wreal* own = IN_SCRATCH(AXES)+9*row;
            GLOBAL const wreal* its = IN_SCRATCH(AXES)+9*other;
            GLOBAL wreal* to = IN_SCRATCH(FEATURES)+row*GEOMETRIC*BEADS+j;
            for (int k = 0; k < RADIAL; k++) {
                const wreal away = (wreal) distance-constants[CENTRES+k];
                to[k*BEADS] = exp((wreal) RADIAL_FACTOR*away*away);
            }
            GLOBAL const mixed* pair = distances+2*(bead*BEADS+j);
            to[RADIAL*BEADS] = (wreal) ((distance-pair[0])*pair[1]);
            for (int a = 0; a < 3; a++) {
                to[(RADIAL+1+a)*BEADS] = direction[0]*own[3*a]+direction[1]*own[3*a+1]+direction[2]*own[3*a+2];
                to[(RADIAL+4+a)*BEADS] = direction[0]*its[3*a]+direction[1]*its[3*a+1]+direction[2]*its[3*a+2];
                for (int b = 0; b < 3; b++)
                    to[(RADIAL+7+3*a+b)*BEADS] = own[3*a]*its[3*b]+own[3*a+1]*its[3*b+1]+own[3*a+2]*its[3*b+2];
            }
        }
        break;

    // A layer forwards. Of the first one queries, keys, values and what they give alone are constants.

    case 10:
        if (layer > 0)
            FOR_ROWS(row)
                normaliseRow(IN_SCRATCH(NODES)+row*WIDTH, IN_SCRATCH(BEFORE)+row*WIDTH, IN_SCRATCH(BEFORE_FACTOR)+row);
        break;
    case 11:
        if (layer > 0)
            PRODUCT(WIDTH, 3*WIDTH, of+QKV_FORWARD, IN_SCRATCH(BEFORE),
                IN_SCRATCH(PROJECTED)[row*3*WIDTH+column] = value+of[QKV_BIAS+column];)
        break;
    case 12:
        if (layer > 0)
            FOR(index, rows*HEADS*EDGE) {
                const int row = firstRow+index/(HEADS*EDGE), h = index/EDGE%HEADS, k = index%EDGE;
                GLOBAL const wreal* query = IN_SCRATCH(PROJECTED)+row*3*WIDTH+h*HEAD_WIDTH;
                wreal sum = 0;
                for (int d = 0; d < HEAD_WIDTH; d++)
                    sum += query[d]*of[QUERY_TO_EDGE+(h*HEAD_WIDTH+d)*EDGE+k];
                IN_SCRATCH(EDGE_QUERIES)[firstRow*HEADS*EDGE+index] = sum;
            }
        break;
    case 13:
        FOR(index, rows*HEADS*BEADS) {
            const int row = firstRow+index/(HEADS*BEADS), h = index/BEADS%HEADS, j = index%BEADS, bead = row%BEADS, start = row-bead;
            GLOBAL const wreal* perEdge = layer > 0 ? IN_SCRATCH(EDGE_QUERIES)+(row*HEADS+h)*EDGE :
                    constants+FIRST_EDGE_QUERIES+(bead*HEADS+h)*EDGE;
            GLOBAL const wreal* features = IN_SCRATCH(FEATURES)+row*GEOMETRIC*BEADS+j;
            wreal logit = 0;
            if (layer > 0) {
                GLOBAL const wreal* query = IN_SCRATCH(PROJECTED)+row*3*WIDTH+h*HEAD_WIDTH;
                GLOBAL const wreal* key = IN_SCRATCH(PROJECTED)+(start+j)*3*WIDTH+WIDTH+h*HEAD_WIDTH;
                for (int d = 0; d < HEAD_WIDTH; d++)
                    logit += query[d]*key[d];
                logit += perEdge[GEOMETRIC+classes[2*(bead*BEADS+j)]]+perEdge[GEOMETRIC+classes[2*(bead*BEADS+j)+1]];
            }
            else
                logit = constants[FIRST_LOGITS+(bead*HEADS+h)*BEADS+j];
            for (int k = 0; k < GEOMETRIC; k++)
                logit += perEdge[k]*features[k*BEADS];
            IN_SCRATCH(WEIGHTS)[firstRow*HEADS*BEADS+index] = logit;
        }
        break;
    case 14:
        FOR(index, rows*HEADS) {
            GLOBAL wreal* weights = IN_SCRATCH(WEIGHTS)+(firstRow*HEADS+index)*BEADS;
            wreal largest = weights[0], total = 0;
            for (int j = 1; j < BEADS; j++)
                largest = weights[j] > largest ? weights[j] : largest;
            for (int j = 0; j < BEADS; j++) {
                const wreal weight = exp(weights[j]-largest);
                weights[j] = weight;
                total += weight;
            }
            const wreal factor = (wreal) 1.0f/total;
            for (int j = 0; j < BEADS; j++)
                weights[j] *= factor;
        }
        break;
    case 15:
        FOR(index, rows*HEADS*EDGE) {
            const int row = firstRow+index/(HEADS*EDGE), h = index/EDGE%HEADS, k = index%EDGE;
            GLOBAL const wreal* weights = IN_SCRATCH(WEIGHTS)+(row*HEADS+h)*BEADS;
            IN_SCRATCH(EDGE_SUMS)[firstRow*HEADS*EDGE+index] = sumOverEdges(weights,
                    IN_SCRATCH(FEATURES)+row*GEOMETRIC*BEADS, classes+2*(row%BEADS)*BEADS, k);
        }
        break;
    case 16:
        FOR(index, rows*WIDTH) {
            const int row = firstRow+index/WIDTH, column = index%WIDTH, h = column/HEAD_WIDTH, bead = row%BEADS, start = row-bead;
            GLOBAL const wreal* values = (layer > 0 ? IN_SCRATCH(PROJECTED)+start*3*WIDTH : constants+FIRST_PROJECTED)+2*WIDTH+column;
            GLOBAL const wreal* weights = IN_SCRATCH(WEIGHTS)+(row*HEADS+h)*BEADS;
            GLOBAL const wreal* sums = IN_SCRATCH(EDGE_SUMS)+(row*HEADS+h)*EDGE;
            GLOBAL const wreal* map = of+VALUE_FROM_EDGE+h*EDGE*HEAD_WIDTH+column%HEAD_WIDTH;
            wreal sum = 0;
            for (int j = 0; j < BEADS; j++)
                sum += weights[j]*values[j*3*WIDTH];
            for (int k = 0; k < EDGE; k++)
                sum += sums[k]*map[k*HEAD_WIDTH];
            IN_SCRATCH(HEAD_SUMS)[firstRow*WIDTH+index] = sum;
        }
        break;
    case 17:
        PRODUCT(WIDTH, WIDTH, of+OUT_FORWARD, IN_SCRATCH(HEAD_SUMS),
            IN_SCRATCH(NODES)[row*WIDTH+column] += value+of[OUT_BIAS+column];)
        break;
    case 18:
        FOR_ROWS(row)
            normaliseRow(IN_SCRATCH(NODES)+row*WIDTH, IN_SCRATCH(MIDDLE)+row*WIDTH, IN_SCRATCH(MIDDLE_FACTOR)+row);
        break;
    case 19:
        PRODUCT(WIDTH, 2*WIDTH, of+UP_FORWARD, IN_SCRATCH(MIDDLE),
            const wreal p = value+of[UP_BIAS+column];
            const wreal s = (wreal) 1.0f/(1.0f+exp(-p));
            IN_SCRATCH(HIDDEN)[row*2*WIDTH+column] = p*s;
            IN_SCRATCH(UP_SLOPES)[row*2*WIDTH+column] = s*(1.0f+p*(1.0f-s));)
        break;
    case 20:
        PRODUCT(2*WIDTH, WIDTH, of+DOWN_FORWARD, IN_SCRATCH(HIDDEN),
            IN_SCRATCH(NODES)[row*WIDTH+column] += value+of[DOWN_BIAS+column];)
        break;

    // The head, there and back.

    case 30:
        FOR_ROWS(row)
            normaliseRow(IN_SCRATCH(NODES)+row*WIDTH, IN_SCRATCH(LAST)+row*WIDTH, IN_SCRATCH(LAST_FACTOR)+row);
        break;
    case 31:
        PRODUCT(WIDTH, WIDTH, constants+HEAD_FORWARD, IN_SCRATCH(LAST),
            const wreal p = value+constants[HEAD_BIAS+column];
            const wreal s = (wreal) 1.0f/(1.0f+exp(-p));
            energy += constants[OUTPUTS+column]*(p*s);
            IN_SCRATCH(ALONG)[row*WIDTH+column] = constants[OUTPUTS+column]*(s*(1.0f+p*(1.0f-s)));)
        break;
    case 32:
        PRODUCT(WIDTH, WIDTH, constants+HEAD_BACKWARD, IN_SCRATCH(ALONG), IN_SCRATCH(NODES)[row*WIDTH+column] = value;)
        FOR(index, rows*WIDTH)
            IN_SCRATCH(SLOPES)[firstRow*WIDTH+index] = 0;
        FOR(index, rows*GEOMETRIC*BEADS)
            IN_SCRATCH(FEATURE_SLOPES)[firstRow*GEOMETRIC*BEADS+index] = 0;
        break;
    case 33:
        FOR_ROWS(row)
            normaliseRowBackward(IN_SCRATCH(LAST)+row*WIDTH, IN_SCRATCH(LAST_FACTOR)[row], IN_SCRATCH(NODES)+row*WIDTH,
                IN_SCRATCH(SLOPES)+row*WIDTH);
        break;

    // A layer backwards.

    case 40:
        PRODUCT(WIDTH, 2*WIDTH, of+DOWN_BACKWARD, IN_SCRATCH(SLOPES),
            IN_SCRATCH(HIDDEN)[row*2*WIDTH+column] = value*IN_SCRATCH(UP_SLOPES)[row*2*WIDTH+column];)
        break;
    case 41:
        PRODUCT(2*WIDTH, WIDTH, of+UP_BACKWARD, IN_SCRATCH(HIDDEN), IN_SCRATCH(ALONG)[row*WIDTH+column] = value;)
        break;
    case 42:
        FOR_ROWS(row)
            normaliseRowBackward(IN_SCRATCH(MIDDLE)+row*WIDTH, IN_SCRATCH(MIDDLE_FACTOR)[row], IN_SCRATCH(ALONG)+row*WIDTH,
                IN_SCRATCH(SLOPES)+row*WIDTH);
        break;
    case 43:
        PRODUCT(WIDTH, WIDTH, of+OUT_BACKWARD, IN_SCRATCH(SLOPES), IN_SCRATCH(HEAD_SUMS)[row*WIDTH+column] = value;)
        break;
    case 44:
        FOR(index, rows*HEADS*EDGE) {
            const int row = firstRow+index/(HEADS*EDGE), h = index/EDGE%HEADS, k = index%EDGE;
            wreal sum = 0;
            for (int d = 0; d < HEAD_WIDTH; d++)
                sum += IN_SCRATCH(HEAD_SUMS)[row*WIDTH+h*HEAD_WIDTH+d]*of[VALUE_TO_EDGE+(h*HEAD_WIDTH+d)*EDGE+k];
            IN_SCRATCH(EDGE_SUMS)[firstRow*HEADS*EDGE+index] = sum;
        }
        break;
    case 45:
        FOR(index, rows*HEADS*BEADS) {
            const int row = firstRow+index/(HEADS*BEADS), h = index/BEADS%HEADS, j = index%BEADS, bead = row%BEADS, start = row-bead;
            GLOBAL const wreal* values = (layer > 0 ? IN_SCRATCH(PROJECTED)+start*3*WIDTH : constants+FIRST_PROJECTED)+
                    (3*j+2)*WIDTH+h*HEAD_WIDTH;
            GLOBAL const wreal* alongHeads = IN_SCRATCH(HEAD_SUMS)+row*WIDTH+h*HEAD_WIDTH;
            GLOBAL const wreal* alongEdges = IN_SCRATCH(EDGE_SUMS)+(row*HEADS+h)*EDGE;
            GLOBAL const wreal* features = IN_SCRATCH(FEATURES)+row*GEOMETRIC*BEADS+j;
            wreal slope = alongEdges[GEOMETRIC+classes[2*(bead*BEADS+j)]]+alongEdges[GEOMETRIC+classes[2*(bead*BEADS+j)+1]];
            for (int d = 0; d < HEAD_WIDTH; d++)
                slope += alongHeads[d]*values[d];
            for (int k = 0; k < GEOMETRIC; k++)
                slope += alongEdges[k]*features[k*BEADS];
            IN_SCRATCH(PAIR_SLOPES)[firstRow*HEADS*BEADS+index] = slope;
        }
        break;
    case 46:
        FOR(index, rows*HEADS) {
            GLOBAL const wreal* weights = IN_SCRATCH(WEIGHTS)+(firstRow*HEADS+index)*BEADS;
            GLOBAL wreal* slopes = IN_SCRATCH(PAIR_SLOPES)+(firstRow*HEADS+index)*BEADS;
            wreal mean = 0;
            for (int j = 0; j < BEADS; j++)
                mean += weights[j]*slopes[j];
            for (int j = 0; j < BEADS; j++)
                slopes[j] = weights[j]*(slopes[j]-mean);
        }
        break;
    case 47:
        FOR(index, rows*GEOMETRIC*BEADS) {
            const int row = firstRow+index/(GEOMETRIC*BEADS), k = index/BEADS%GEOMETRIC, j = index%BEADS, bead = row%BEADS;
            GLOBAL const wreal* perEdge = (layer > 0 ? IN_SCRATCH(EDGE_QUERIES)+row*HEADS*EDGE :
                    constants+FIRST_EDGE_QUERIES+bead*HEADS*EDGE)+k;
            wreal sum = 0;
            for (int h = 0; h < HEADS; h++)
                sum += IN_SCRATCH(PAIR_SLOPES)[(row*HEADS+h)*BEADS+j]*perEdge[h*EDGE] +
                        IN_SCRATCH(WEIGHTS)[(row*HEADS+h)*BEADS+j]*IN_SCRATCH(EDGE_SUMS)[(row*HEADS+h)*EDGE+k];
            IN_SCRATCH(FEATURE_SLOPES)[firstRow*GEOMETRIC*BEADS+index] += sum;
        }
        if (layer > 0) {
            FOR(index, rows*HEADS*EDGE) {
                const int row = firstRow+index/(HEADS*EDGE), h = index/EDGE%HEADS, k = index%EDGE;
                GLOBAL const wreal* weights = IN_SCRATCH(PAIR_SLOPES)+(row*HEADS+h)*BEADS;
                IN_SCRATCH(QUERY_SLOPES)[firstRow*HEADS*EDGE+index] = sumOverEdges(weights,
                    IN_SCRATCH(FEATURES)+row*GEOMETRIC*BEADS, classes+2*(row%BEADS)*BEADS, k);
            }
            FOR(index, rows*WIDTH) {
                const int row = firstRow+index/WIDTH, column = index%WIDTH, h = column/HEAD_WIDTH, bead = row%BEADS, start = row-bead;
                wreal alongKey = 0, alongValue = 0;
                for (int i = 0; i < BEADS; i++) {
                    const int pair = ((start+i)*HEADS+h)*BEADS+bead;
                    alongKey += IN_SCRATCH(PAIR_SLOPES)[pair]*IN_SCRATCH(PROJECTED)[(start+i)*3*WIDTH+column];
                    alongValue += IN_SCRATCH(WEIGHTS)[pair]*IN_SCRATCH(HEAD_SUMS)[(start+i)*WIDTH+column];
                }
                IN_SCRATCH(PROJECTED_SLOPES)[row*3*WIDTH+WIDTH+column] = alongKey;
                IN_SCRATCH(PROJECTED_SLOPES)[row*3*WIDTH+2*WIDTH+column] = alongValue;
            }
        }
        break;
    case 48:
        if (layer > 0)
            FOR(index, rows*WIDTH) {
                const int row = firstRow+index/WIDTH, column = index%WIDTH, h = column/HEAD_WIDTH, start = row-row%BEADS;
                GLOBAL const wreal* slopes = IN_SCRATCH(PAIR_SLOPES)+(row*HEADS+h)*BEADS;
                GLOBAL const wreal* alongEdges = IN_SCRATCH(QUERY_SLOPES)+(row*HEADS+h)*EDGE;
                GLOBAL const wreal* map = of+QUERY_FROM_EDGE+h*EDGE*HEAD_WIDTH+column%HEAD_WIDTH;
                wreal sum = 0;
                for (int j = 0; j < BEADS; j++)
                    sum += slopes[j]*IN_SCRATCH(PROJECTED)[(start+j)*3*WIDTH+WIDTH+column];
                for (int k = 0; k < EDGE; k++)
                    sum += alongEdges[k]*map[k*HEAD_WIDTH];
                IN_SCRATCH(PROJECTED_SLOPES)[row*3*WIDTH+column] = sum;
            }
        break;
    case 49:
        if (layer > 0)
            PRODUCT(3*WIDTH, WIDTH, of+QKV_BACKWARD, IN_SCRATCH(PROJECTED_SLOPES), IN_SCRATCH(ALONG)[row*WIDTH+column] = value;)
        break;
    case 50:
        if (layer > 0)
            FOR_ROWS(row)
                normaliseRowBackward(IN_SCRATCH(BEFORE)+row*WIDTH, IN_SCRATCH(BEFORE_FACTOR)[row], IN_SCRATCH(ALONG)+row*WIDTH,
                    IN_SCRATCH(SLOPES)+row*WIDTH);
        break;

    // From features to positions. The slopes along an edge's features give way to what they are along the vector between its beads (3), the
    // axes of the first (9) and those of the second (9).

    case 60:
        FOR(index, rows*BEADS) {
            const int row = firstRow+index/BEADS, bead = row%BEADS, j = index%BEADS, other = row-bead+j;
            const mixed3 u = BETWEEN(r_nm, other, row);
            const mixed distance = sqrt(dot(u, u)+SQUARED_LENGTH);
            const mixed inverse = 1.0f/sqrt(dot(u, u)+AXIS_LENGTH);
            const wreal direction[3] = {(wreal) (inverse*u.x), (wreal) (inverse*u.y), (wreal) (inverse*u.z)};
            GLOBAL const wreal* own = IN_SCRATCH(AXES)+9*row;
            GLOBAL const wreal* its = IN_SCRATCH(AXES)+9*other;
            GLOBAL const wreal* features = IN_SCRATCH(FEATURES)+row*GEOMETRIC*BEADS+j;
            GLOBAL wreal* slopes = IN_SCRATCH(FEATURE_SLOPES)+row*GEOMETRIC*BEADS+j;
            wreal alongDistance = 0, alongDirection[3] = {0, 0, 0}, toOwn[9], toIts[9];
            for (int k = 0; k < RADIAL; k++)
                alongDistance += slopes[k*BEADS]*features[k*BEADS]*((wreal) distance-constants[CENTRES+k]);
            alongDistance = 2.0f*(wreal) RADIAL_FACTOR*alongDistance + (wreal) distances[2*(bead*BEADS+j)+1]*slopes[RADIAL*BEADS];
            for (int a = 0; a < 3; a++) {
                const wreal withOwn = slopes[(RADIAL+1+a)*BEADS], withIts = slopes[(RADIAL+4+a)*BEADS];
                for (int c = 0; c < 3; c++) {
                    alongDirection[c] += withOwn*own[3*a+c] + withIts*its[3*a+c];
                    toOwn[3*a+c] = withOwn*direction[c];
                    toIts[3*a+c] = withIts*direction[c];
                }
            }
            for (int a = 0; a < 3; a++)
                for (int b = 0; b < 3; b++) {
                    const wreal both = slopes[(RADIAL+7+3*a+b)*BEADS];
                    for (int c = 0; c < 3; c++) {
                        toOwn[3*a+c] += both*its[3*b+c];
                        toIts[3*b+c] += both*own[3*a+c];
                    }
                }
            const wreal outwards = alongDirection[0]*direction[0]+alongDirection[1]*direction[1]+alongDirection[2]*direction[2];
            const wreal stretch = alongDistance/(wreal) distance;
            slopes[0] = (wreal) inverse*(alongDirection[0]-outwards*direction[0]) + stretch*(wreal) u.x;
            slopes[BEADS] = (wreal) inverse*(alongDirection[1]-outwards*direction[1]) + stretch*(wreal) u.y;
            slopes[2*BEADS] = (wreal) inverse*(alongDirection[2]-outwards*direction[2]) + stretch*(wreal) u.z;
            for (int c = 0; c < 9; c++) {
                slopes[(3+c)*BEADS] = toOwn[c];
                slopes[(12+c)*BEADS] = toIts[c];
            }
        }
        break;
    case 61:
        FOR(index, rows*12) {
            const int row = firstRow+index/12, c = index%12, bead = row%BEADS, start = row-bead;
            GLOBAL const wreal* slopes = IN_SCRATCH(FEATURE_SLOPES);
            mixed sum = 0;
            for (int i = 0; i < BEADS; i++) {
                const mixed asFirst = slopes[(row*GEOMETRIC+c)*BEADS+i];
                const mixed asSecond = slopes[((start+i)*GEOMETRIC+(c < 3 ? c : c+9))*BEADS+bead];
                sum += c < 3 ? asSecond-asFirst : asSecond+asFirst;
            }
            geometry[GRADIENT*ROWS+12*row+c] = sum;
        }
        break;
    case 62:
        FOR_ROWS(row) {
            const int bead = row%BEADS;
            const Axes a = axesOf(r_nm, row-bead, frames+3*bead);
            GLOBAL const mixed* slopes = geometry+GRADIENT*ROWS+12*row+3;
            GLOBAL mixed* to = geometry+FRAME_SLOPES*ROWS+6*row;
            const mixed3 toSum = throughNorm(a.sum, a.sumNorm, vectorAt(slopes));
            const mixed3 toDifference = throughNorm(a.difference, a.differenceNorm, vectorAt(slopes+3));
            const mixed3 toNormal = throughNorm(a.normal, a.normalNorm, vectorAt(slopes+6));
            const mixed3 toFirst = toSum-toDifference+cross(a.second, toNormal);
            const mixed3 toSecond = toSum+toDifference+cross(toNormal, a.first);
            to[0] = toFirst.x;
            to[1] = toFirst.y;
            to[2] = toFirst.z;
            to[3] = toSecond.x;
            to[4] = toSecond.y;
            to[5] = toSecond.z;
        }
        break;
    case 63:
        FOR(index, rows*3) {
            const int row = firstRow+index/3, axis = index%3, bead = row%BEADS, start = row-bead;
            mixed sum = geometry[GRADIENT*ROWS+12*row+axis];
            for (int entry = frameStart[bead]; entry < frameStart[bead+1]; entry++) {
                GLOBAL const mixed* slopes = geometry+FRAME_SLOPES*ROWS+6*(start+framesOf[2*entry])+axis;
                const int corner = framesOf[2*entry+1];
                sum += corner == 0 ? -slopes[0] : corner == 1 ? slopes[0]-slopes[3] : slopes[3];
            }
            if (includeForces)
                ATOMIC_ADD(&forceBuffers[particles[row+shift]+axis*PADDED_NUM_ATOMS],
                        (mm_ulong) realToFixedPoint((real) (-scale*KT*INVERSE_LENGTH*sum)));
        }
        break;
    }
    return energy;
}

#if FUSED
KERNEL void fpforceGraph(GRAPH_ARGUMENTS) {
    LOCAL mixed sums[THREADS];
    mixed energy = 0;
    for (int replica = GROUP_ID; replica < REPLICAS; replica += NUM_GROUPS)
        for (int step = 0; step < STEPS; step++) {
            energy += graphStep(step, LOCAL_ID, LOCAL_SIZE, GROUP_ID*BEADS, BEADS, (replica-GROUP_ID)*BEADS, GRAPH_ARGUMENTS_AGAIN);
            SYNC_THREADS;
        }
    ADD_ENERGY(energy, sums, scale)
}
#else
KERNEL void fpforceGraphStep(GRAPH_ARGUMENTS, int step) {
    graphStep(step, GLOBAL_ID, GLOBAL_SIZE, 0, ROWS, 0, GRAPH_ARGUMENTS_AGAIN);
}

// The one step that adds to the energy.
KERNEL void fpforceGraphHead(GRAPH_ARGUMENTS) {
    LOCAL mixed sums[THREADS];
    const mixed energy = graphStep(HEAD_STEP+1, GLOBAL_ID, GLOBAL_SIZE, 0, ROWS, 0, GRAPH_ARGUMENTS_AGAIN);
    ADD_ENERGY(energy, sums, scale)
}
#endif
