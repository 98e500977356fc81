// The network of kind `graph_transformer`, third part: the steps from the energy back to the forces. See graph.cc.

DEVICE inline void graphBackward(STEP_ARGUMENTS) {
    GLOBAL const wreal* of = constants+LAYER_CONSTANTS+layer*CONSTANTS_OF_LAYER;
    GLOBAL mixed* r_nm = geometry+POSITION_NM*ROWS;
    switch (kind) {

    // The head.

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
}
