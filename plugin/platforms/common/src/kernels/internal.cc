// The network of kind `internal`: InternalPlan.h has the equations, InternalKernel.h the same for the host.
//
// Everything of the replicas at hand lies in local memory, replicas innermost: values[unit*REPLICAS_AT_ONCE+g]. In the products with
// the weights a thread owns one column for all of these replicas, so that a weight is read once for them, from consecutive addresses in
// consecutive threads; SLICES threads share a column's sum. Weights lie in two layouts, for the way forward and the way back.
// internal_windows.cc comes before this text.

#define G REPLICAS_AT_ONCE
#define FEATURES (PAIRS + 4*DIHEDRALS + VOLUMES)

// output[column*G+g] = sum over k < inputs of weights[k*columns+column]*input[k*G+g]
#define PRODUCT(weights, inputs, columns, input, output) \
    for (int base = 0; base < (columns); base += COLUMNS) { \
        const int column = base+LOCAL_ID%COLUMNS, slice = LOCAL_ID/COLUMNS; \
        wreal total[G]; \
        for (int g = 0; g < G; g++) \
            total[g] = 0; \
        if (column < (columns)) \
            for (int k = slice; k < (inputs); k += SLICES) { \
                const wreal weight = (weights)[k*(columns)+column]; \
                for (int g = 0; g < G; g++) \
                    total[g] += weight*input[k*G+g]; \
            } \
        for (int g = 0; g < G; g++) \
            partial[LOCAL_ID*G+g] = total[g]; \
        SYNC_THREADS; \
        for (int k = LOCAL_ID; k < COLUMNS*G; k += LOCAL_SIZE) \
            if (base+k/G < (columns)) { \
                wreal sum = partial[k]; \
                for (int other = 1; other < SLICES; other++) \
                    sum += partial[other*COLUMNS*G+k]; \
                output[base*G+k] = sum; \
            } \
        SYNC_THREADS; \
    }

#define ACTIVATE(layer, values) \
    for (int k = LOCAL_ID; k < WIDTH*G; k += LOCAL_SIZE) { \
        const wreal sum = values[k]+biases[(layer)*WIDTH+k/G]; \
        const wreal s = 1.0f/(1.0f+exp(-sum)); \
        values[k] = sum*s; \
        slopes[(layer)*WIDTH*G+k] = s*(1.0f+sum*(1.0f-s)); \
    } \
    SYNC_THREADS;

// One dihedral's normals and what divides them.
typedef struct {
    mixed3 left, right;
    mixed leftSquare, rightSquare, norm, axis, triple, cosine, sine;
} Dihedral;

DEVICE inline Dihedral dihedralOf(mixed3 before, mixed3 middle, mixed3 after) {
    Dihedral d;
    d.left = cross(before, middle);
    d.right = cross(middle, after);
    d.leftSquare = dot(d.left, d.left) + BLUR;
    d.rightSquare = dot(d.right, d.right) + BLUR;
    d.norm = 1.0f/sqrt(d.leftSquare*d.rightSquare);
    d.axis = sqrt(dot(middle, middle) + SQUARED_LENGTH);
    d.triple = dot(before, d.right);
    d.cosine = dot(d.left, d.right)*d.norm;
    d.sine = d.axis*d.triple*d.norm;
    return d;
}

#if ORDERS > 0
// What a series adds to the energy, and to its slopes along cosine and sine. own: even and odd of each of its orders.
DEVICE inline mixed seriesEnergy(GLOBAL const mixed* RESTRICT own, int orders, mixed cosine, mixed sine, mixed* alongCosine, mixed* alongSine) {
    const mixed norm = 1.0f/sqrt(cosine*cosine+sine*sine+DELTA), c = norm*cosine, s = norm*sine;
    mixed real = 0, imaginary = 0, realSlope = 0, imaginarySlope = 0;
    for (int n = orders; n >= 0; n--) {
        const mixed turnedSlope = realSlope*s+imaginarySlope*c, turned = real*s+imaginary*c;
        realSlope = realSlope*c-imaginarySlope*s+real;
        imaginarySlope = turnedSlope+imaginary;
        real = real*c-imaginary*s+(n == 0 ? 0.0f : own[2*n-2]);
        imaginary = turned-(n == 0 ? 0.0f : own[2*n-1]);
    }
    const mixed outwards = realSlope*c-imaginarySlope*s;
    *alongCosine += norm*(realSlope-outwards*c);
    *alongSine -= norm*(imaginarySlope+outwards*s);
    return real;
}
#endif

KERNEL void fpforceInternal(POSITIONS_AND_RESULTS, GLOBAL const int* RESTRICT pairBeads, GLOBAL const mixed* RESTRICT pairConstants,
        GLOBAL const int* RESTRICT pairOf, GLOBAL const int* RESTRICT corners, GLOBAL const int* RESTRICT volumeStart,
        GLOBAL const int* RESTRICT volumesOf, GLOBAL const mixed* RESTRICT series, GLOBAL const int* RESTRICT ordersOf,
        GLOBAL const mixed* RESTRICT turns, GLOBAL const wreal* RESTRICT forward, GLOBAL const wreal* RESTRICT backward,
        GLOBAL const wreal* RESTRICT biases, GLOBAL const wreal* RESTRICT outputs, GLOBAL wreal* RESTRICT scratch, WINDOW_ARGUMENTS
        mixed scale, int includeForces, int includeEnergy) {
    LOCAL mixed r_nm[3*BEADS_AT_ONCE];
    LOCAL mixed gradient[3*BEADS_AT_ONCE];
    LOCAL mixed mean[3*G];
    LOCAL mixed sums[THREADS];
    LOCAL wreal even[WIDTH*G];
    LOCAL wreal odd[WIDTH*G];
    LOCAL wreal slopes[LAYERS*WIDTH*G];
    LOCAL wreal partial[THREADS*G];
#if FEATURES_ARE_LOCAL
    LOCAL wreal features[FEATURES*G];
#else
    GLOBAL wreal* features = scratch+GROUP_ID*FEATURES*G;
#endif
#if DIHEDRALS > 0
    LOCAL wreal alongBonds[9*DIHEDRALS*G];
#endif
    DECLARE_WINDOWS
#if VOLUMES > 0
    LOCAL mixed arms[3*BEADS_AT_ONCE];
    LOCAL mixed inverseArm[BEADS_AT_ONCE];
#endif
    mixed energy = 0;
    for (int first = GROUP_ID*G; first < REPLICAS; first += NUM_GROUPS*G) {
        SYNC_THREADS;
        LOAD_POSITIONS(first, r_nm)
        SYNC_THREADS;

        // Features.

        for (int k = LOCAL_ID; k < PAIRS*G; k += LOCAL_SIZE) {
            const int pair = k/G, start = BEADS*(k%G);
            const mixed3 u = BETWEEN(r_nm, start+pairBeads[2*pair], start+pairBeads[2*pair+1]);
            features[k] = (wreal) ((sqrt(dot(u, u)+SQUARED_LENGTH)-pairConstants[2*pair])*pairConstants[2*pair+1]);
        }
#if DIHEDRALS > 0
        SYNC_THREADS;   // for pocl alone, which otherwise loses some of these features
        for (int k = LOCAL_ID; k < DIHEDRALS*G; k += LOCAL_SIZE) {
            const int i = BEADS*(k%G)+k/G;
            const Dihedral d = dihedralOf(BETWEEN(r_nm, i+1, i), BETWEEN(r_nm, i+2, i+1), BETWEEN(r_nm, i+3, i+2));
            features[PAIRS*G+k] = (wreal) d.cosine;
            features[(PAIRS+DIHEDRALS)*G+k] = (wreal) d.sine;
            features[(PAIRS+2*DIHEDRALS)*G+k] = (wreal) (d.cosine*d.cosine-d.sine*d.sine);
            features[(PAIRS+3*DIHEDRALS)*G+k] = (wreal) (2.0f*d.sine*d.cosine);
        }
#endif
#if VOLUMES > 0
        FIND_CENTRES(r_nm, mean)
        SYNC_THREADS;
        for (int k = LOCAL_ID; k < BEADS_AT_ONCE; k += LOCAL_SIZE) {
            const mixed3 x = make_mixed3(FROM_CENTRE(r_nm, mean, k, 0), FROM_CENTRE(r_nm, mean, k, 1), FROM_CENTRE(r_nm, mean, k, 2));
            inverseArm[k] = 1.0f/sqrt(dot(x, x)+ARM_BLUR);
            arms[3*k] = inverseArm[k]*x.x;
            arms[3*k+1] = inverseArm[k]*x.y;
            arms[3*k+2] = inverseArm[k]*x.z;
        }
        SYNC_THREADS;
#define ARM(k) make_mixed3(arms[3*(k)], arms[3*(k)+1], arms[3*(k)+2])
        for (int k = LOCAL_ID; k < VOLUMES*G; k += LOCAL_SIZE) {
            const int volume = k/G, start = BEADS*(k%G);
            const mixed3 normal = cross(ARM(start+corners[3*volume+1]), ARM(start+corners[3*volume+2]));
            features[(PAIRS+4*DIHEDRALS)*G+k] = (wreal) (2.0f*dot(ARM(start+corners[3*volume]), normal));
        }
#endif
        SYNC_THREADS;
        WINDOW_ENERGIES(first, features, energy)

        // The layers forward. A layer's values are in `even` or `odd` as its number is.

        PRODUCT(forward, FEATURES, WIDTH, features, even)
        ACTIVATE(0, even)
        LOCAL_ARG wreal* last = even;
        LOCAL_ARG wreal* next = odd;
        for (int layer = 1; layer < LAYERS; layer++) {
            PRODUCT(forward+FEATURES*WIDTH+(layer-1)*WIDTH*WIDTH, WIDTH, WIDTH, last, next)
            ACTIVATE(layer, next)
            LOCAL_ARG wreal* swapped = last;
            last = next;
            next = swapped;
        }
        for (int k = LOCAL_ID; k < WIDTH*G; k += LOCAL_SIZE) {
            const wreal weight = outputs[k/G];
            if (first+k%G < REPLICAS)
                energy += weight*last[k];
            last[k] = weight*slopes[(LAYERS-1)*WIDTH*G+k];
        }
        SYNC_THREADS;
        // And back: `last` holds the energy's slopes along a layer's sums, and at the end `features` those along the features.

        for (int layer = LAYERS-1; layer > 0; layer--) {
            PRODUCT(backward+FEATURES*WIDTH+(layer-1)*WIDTH*WIDTH, WIDTH, WIDTH, last, next)
            for (int k = LOCAL_ID; k < WIDTH*G; k += LOCAL_SIZE)
                next[k] *= slopes[(layer-1)*WIDTH*G+k];
            SYNC_THREADS;
            LOCAL_ARG wreal* swapped = last;
            last = next;
            next = swapped;
        }
        PRODUCT(backward, WIDTH, FEATURES, last, features)
        ADD_WINDOW_SLOPES(features)

        // From features to beads.

#if DIHEDRALS > 0
        for (int k = LOCAL_ID; k < DIHEDRALS*G; k += LOCAL_SIZE) {
            const int i = BEADS*(k%G)+k/G;
            const mixed3 before = BETWEEN(r_nm, i+1, i), middle = BETWEEN(r_nm, i+2, i+1), after = BETWEEN(r_nm, i+3, i+2);
            const Dihedral d = dihedralOf(before, middle, after);
            const mixed alongCosine2 = features[(PAIRS+2*DIHEDRALS)*G+k], alongSine2 = features[(PAIRS+3*DIHEDRALS)*G+k];
            mixed alongCosine = features[PAIRS*G+k] + 2.0f*(d.cosine*alongCosine2+d.sine*alongSine2);
            mixed alongSine = features[(PAIRS+DIHEDRALS)*G+k] + 2.0f*(d.cosine*alongSine2-d.sine*alongCosine2);
#if ORDERS > 0
            const mixed added = seriesEnergy(series+k/G*2*ORDERS, ordersOf[k/G], d.cosine, d.sine, &alongCosine, &alongSine);
            if (first+k%G < REPLICAS)
                energy += added;
#endif
            const mixed product = alongCosine*d.cosine+alongSine*d.sine;
            const mixed scaledTriple = alongSine*d.axis*d.norm, scaledDot = alongCosine*d.norm;
            const mixed onLeft = product/d.leftSquare, onRight = product/d.rightSquare, alongAxis = alongSine*d.triple*d.norm/d.axis;
            const mixed3 toLeft = scaledDot*d.right - onLeft*d.left;
            const mixed3 toRight = scaledDot*d.left + scaledTriple*before - onRight*d.right;
            const mixed3 toBefore = scaledTriple*d.right + cross(middle, toLeft);
            const mixed3 toMiddle = cross(toLeft, before) + cross(after, toRight) + alongAxis*middle;
            const mixed3 toAfter = cross(toRight, middle);
            alongBonds[9*k] = (wreal) toBefore.x;
            alongBonds[9*k+1] = (wreal) toBefore.y;
            alongBonds[9*k+2] = (wreal) toBefore.z;
            alongBonds[9*k+3] = (wreal) toMiddle.x;
            alongBonds[9*k+4] = (wreal) toMiddle.y;
            alongBonds[9*k+5] = (wreal) toMiddle.z;
            alongBonds[9*k+6] = (wreal) toAfter.x;
            alongBonds[9*k+7] = (wreal) toAfter.y;
            alongBonds[9*k+8] = (wreal) toAfter.z;
        }
#endif
        for (int k = LOCAL_ID; k < PAIRS*G; k += LOCAL_SIZE) {
            const int pair = k/G, start = BEADS*(k%G);
            const mixed3 u = BETWEEN(r_nm, start+pairBeads[2*pair], start+pairBeads[2*pair+1]);
            const mixed length = sqrt(dot(u, u)+SQUARED_LENGTH);
            mixed slope = features[k]*pairConstants[2*pair+1];
#if ORDERS > 0
            const int turn = DIHEDRALS+pair;
            if (ordersOf[turn] > 0) {
                const mixed v = (length-turns[2*pair])*turns[2*pair+1], q = 1.0f/(1.0f+v*v);
                const mixed c = (1.0f-v*v)*q, s = 2.0f*v*q;
                mixed alongCosine = 0, alongSine = 0;
                const mixed added = seriesEnergy(series+turn*2*ORDERS, ordersOf[turn], c, s, &alongCosine, &alongSine);
                if (first+k%G < REPLICAS)
                    energy += added;
                slope += 2.0f*turns[2*pair+1]*q*(c*alongSine-s*alongCosine);
            }
#endif
            features[k] = (wreal) (slope*INVERSE_LENGTH/length);
        }
#if VOLUMES > 0
        for (int k = LOCAL_ID; k < BEADS_AT_ONCE; k += LOCAL_SIZE) {
            const int bead = k%BEADS, start = k-bead, g = k/BEADS;
            mixed3 along = make_mixed3(0, 0, 0);
            for (int entry = volumeStart[bead]; entry < volumeStart[bead+1]; entry++) {
                const mixed slope = 2.0f*(mixed) features[(PAIRS+4*DIHEDRALS+volumesOf[3*entry])*G+g];
                along += slope*cross(ARM(start+volumesOf[3*entry+1]), ARM(start+volumesOf[3*entry+2]));
            }
            const mixed3 arm = ARM(k);
            const mixed outwards = dot(along, arm);
            gradient[3*k] = inverseArm[k]*(along.x-outwards*arm.x);
            gradient[3*k+1] = inverseArm[k]*(along.y-outwards*arm.y);
            gradient[3*k+2] = inverseArm[k]*(along.z-outwards*arm.z);
        }
#endif
        SYNC_THREADS;
        for (int k = LOCAL_ID; k < 3*BEADS_AT_ONCE; k += LOCAL_SIZE) {
            const int g = k/(3*BEADS), axis = k%3, bead = (k/3)%BEADS;
#if VOLUMES > 0
            mixed sum = gradient[k];
#else
            mixed sum = 0;
#endif
            for (int other = 0; other < BEADS; other++)
                if (other != bead)
                    sum += features[pairOf[bead*BEADS+other]*G+g]*(r_nm[k]-r_nm[3*(g*BEADS+other)+axis]);
#if DIHEDRALS > 0
            for (int dihedral = bead > 3 ? bead-3 : 0; dihedral <= bead && dihedral < DIHEDRALS; dihedral++) {
                const int corner = bead-dihedral, bonds = 9*(dihedral*G+g)+axis;
                if (corner > 0)
                    sum += alongBonds[bonds+3*(corner-1)];
                if (corner < 3)
                    sum -= alongBonds[bonds+3*corner];
            }
#endif
            gradient[k] = sum;
        }
        SYNC_THREADS;
        ADD_FORCES(first, gradient, mean, scale)
    }
    ADD_ENERGY(energy, sums, scale)
}
