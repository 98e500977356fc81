// What all kernels of FPForce share, in the C dialect of OpenMM's common compute API, which OpenCL, CUDA and HIP compile.
//
// A work-group computes REPLICAS_AT_ONCE replicas and loops until all are done, since OpenMM limits the number of groups.
// Geometry and sums are in `mixed`, OpenMM's type for them; networks are in `wreal`, the force's own precision.
// Lengths are normalised unless their name ends in _nm.
//
// No barrier stands in a branch, though every thread would take it alike: pocl compiles such kernels wrongly. So everything is worked
// out whether or not forces or energy are asked for.

typedef NETWORK_REAL wreal;

#ifdef USE_MIXED_PRECISION
#define POSITIONS_AND_RESULTS GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, \
        GLOBAL const int* RESTRICT particles, GLOBAL mm_ulong* RESTRICT forceBuffers, GLOBAL mixed* RESTRICT energyBuffer
#define COORDINATE_NM(particle, axis) (posq[particle].axis + (mixed) posqCorrection[particle].axis)
#else
#define POSITIONS_AND_RESULTS GLOBAL const real4* RESTRICT posq, GLOBAL const int* RESTRICT particles, \
        GLOBAL mm_ulong* RESTRICT forceBuffers, GLOBAL mixed* RESTRICT energyBuffer
#define COORDINATE_NM(particle, axis) ((mixed) posq[particle].axis)
#endif

#define BEADS_AT_ONCE (BEADS*REPLICAS_AT_ONCE)
// Lanes beyond the last replica repeat it, and write nothing.
#define REPLICA_OF(first, g) (first+(g) < REPLICAS ? first+(g) : REPLICAS-1)

// Positions of the replicas from `first` on, as they are: a difference of two beads that are near each other is then exact.
#define LOAD_POSITIONS(first, r_nm) \
    for (int k = LOCAL_ID; k < BEADS_AT_ONCE; k += LOCAL_SIZE) { \
        int particle = particles[REPLICA_OF(first, k/BEADS)*BEADS + k%BEADS]; \
        r_nm[3*k] = COORDINATE_NM(particle, x); \
        r_nm[3*k+1] = COORDINATE_NM(particle, y); \
        r_nm[3*k+2] = COORDINATE_NM(particle, z); \
    }

// centre_nm: of every replica, as seen from its first bead, wherever in space that is.
#define FIND_CENTRES(r_nm, centre_nm) \
    for (int k = LOCAL_ID; k < 3*REPLICAS_AT_ONCE; k += LOCAL_SIZE) { \
        int start = 3*BEADS*(k/3) + k%3; \
        mixed sum = 0; \
        for (int i = 1; i < BEADS; i++) \
            sum += r_nm[start+3*i]-r_nm[start]; \
        centre_nm[k] = sum*((mixed) 1.0f/BEADS); \
    }
#define FROM_CENTRE(r_nm, centre_nm, k, axis) \
    (INVERSE_LENGTH*((r_nm[3*(k)+axis]-r_nm[3*BEADS*((k)/BEADS)+axis])-centre_nm[3*((k)/BEADS)+axis]))

#define BETWEEN(r_nm, i, j) make_mixed3(INVERSE_LENGTH*(r_nm[3*(i)]-r_nm[3*(j)]), INVERSE_LENGTH*(r_nm[3*(i)+1]-r_nm[3*(j)+1]), \
        INVERSE_LENGTH*(r_nm[3*(i)+2]-r_nm[3*(j)+2]))

// Adds minus the gradient (kT per normalised length), less its mean over each replica's beads, to the forces, if they are asked for.
#define ADD_FORCES(first, gradient, mean, factor) \
    for (int k = LOCAL_ID; k < 3*REPLICAS_AT_ONCE; k += LOCAL_SIZE) { \
        mixed sum = 0; \
        for (int i = 0; i < BEADS; i++) \
            sum += gradient[3*BEADS*(k/3) + k%3 + 3*i]; \
        mean[k] = sum*((mixed) 1.0f/BEADS); \
    } \
    SYNC_THREADS; \
    for (int k = LOCAL_ID; k < 3*BEADS_AT_ONCE; k += LOCAL_SIZE) { \
        int g = k/(3*BEADS), axis = k%3; \
        if (includeForces && first+g < REPLICAS) { \
            mixed force = -(factor)*KT*INVERSE_LENGTH*(gradient[k]-mean[3*g+axis]); \
            ATOMIC_ADD(&forceBuffers[particles[(first+g)*BEADS + (k/3)%BEADS] + axis*PADDED_NUM_ATOMS], \
                    (mm_ulong) realToFixedPoint((real) force)); \
        } \
    }

// Adds up what the group's threads have, `mine` (kT) of each, in an order that does not vary, for the energy if it is asked for. Slot
// GROUP_ID: a group of ours may have more threads than OpenMM expects of one, so that GLOBAL_ID could lie beyond the buffer.
#define ADD_ENERGY(mine, sums, factor) \
    SYNC_THREADS; \
    sums[LOCAL_ID] = mine; \
    for (int reach = 1; reach < THREADS; reach *= 2) { \
        SYNC_THREADS; \
        if (LOCAL_ID%(2*reach) == 0 && LOCAL_ID+reach < THREADS) \
            sums[LOCAL_ID] += sums[LOCAL_ID+reach]; \
    } \
    if (includeEnergy && LOCAL_ID == 0) \
        energyBuffer[GROUP_ID] += (factor)*KT*sums[0];
