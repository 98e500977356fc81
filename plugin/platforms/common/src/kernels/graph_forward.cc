// The network of kind `graph_transformer`, second part: the steps from positions to the energy. See graph.cc.

// Returns this thread's part of the energy (kT).
DEVICE inline mixed graphForward(STEP_ARGUMENTS) {
    mixed energy = 0;
    GLOBAL const wreal* of = constants+LAYER_CONSTANTS+layer*CONSTANTS_OF_LAYER;
    GLOBAL mixed* r_nm = geometry+POSITION_NM*ROWS;
    switch (kind) {

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

    // The head.

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
    }
    return energy;
}
