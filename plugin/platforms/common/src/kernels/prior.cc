// The analytic prior and the wall: PriorPlan.h has the equations, PriorKernel.h the same for the host.
//
// LANES threads share a bead: each adds up a part of the bead's row of the quadratic form, of its pairs and of its walls. Every
// pair is worked out from both its ends, and counts half in each. Where pairs are coupled, COUPLED of them, what pulls at each
// for the others' sake is worked out before.

// ln(q/(1-e^-q)) of q >= 0 and its slope; a series where these lose digits.
DEVICE inline mixed logRatio(mixed q, mixed* slope) {
    if (q < 0.5f) {
        const mixed s = q*q, one = 1.0f;
        *slope = 0.5f - q*(one/12.0f - s*(one/720.0f - s*(one/30240.0f)));
        return 0.5f*q - s*(one/24.0f - s*(one/2880.0f - s*(one/181440.0f)));
    }
    const mixed decay = exp(-q), gap = 1.0f-decay;
    *slope = 1.0f/q - decay/gap;
    return log(q/gap);
}

KERNEL void fpforcePrior(POSITIONS_AND_RESULTS, GLOBAL const mixed* RESTRICT quadratic, GLOBAL const int* RESTRICT pairStart,
        GLOBAL const int* RESTRICT pairOther, GLOBAL const mixed* RESTRICT pairConstants, GLOBAL const int* RESTRICT pairOfEntry,
        GLOBAL const int* RESTRICT pairEnds, GLOBAL const mixed* RESTRICT pairMiddle, GLOBAL const mixed* RESTRICT couplings,
        GLOBAL const int* RESTRICT wallStart, GLOBAL const int* RESTRICT wallOther, GLOBAL const mixed* RESTRICT wallDistance, mixed scale, int includeForces,
        int includeEnergy) {
    LOCAL mixed r_nm[3*BEADS_AT_ONCE];
    LOCAL mixed gradient[3*BEADS_AT_ONCE];   // before that, the beads from their centre
    LOCAL mixed parts[3*BEADS_AT_ONCE*LANES];
    LOCAL mixed mean[3*REPLICAS_AT_ONCE];
    LOCAL mixed sums[THREADS];
#if COUPLED
    LOCAL mixed stretches[COUPLED*REPLICAS_AT_ONCE];
    LOCAL mixed pulls[COUPLED*REPLICAS_AT_ONCE];
#endif
    mixed energy = 0;
    for (int first = GROUP_ID*REPLICAS_AT_ONCE; first < REPLICAS; first += NUM_GROUPS*REPLICAS_AT_ONCE) {
        SYNC_THREADS;
        LOAD_POSITIONS(first, r_nm)
        SYNC_THREADS;
        FIND_CENTRES(r_nm, mean)
        SYNC_THREADS;
        for (int k = LOCAL_ID; k < BEADS_AT_ONCE; k += LOCAL_SIZE) {
            gradient[3*k] = FROM_CENTRE(r_nm, mean, k, 0);
            gradient[3*k+1] = FROM_CENTRE(r_nm, mean, k, 1);
            gradient[3*k+2] = FROM_CENTRE(r_nm, mean, k, 2);
        }
#if COUPLED
        SYNC_THREADS;   // for pocl, which takes the loop before and this one for one another's
        for (int index = LOCAL_ID; index < COUPLED*REPLICAS_AT_ONCE; index += LOCAL_SIZE) {
            const int p = index%COUPLED, start = index/COUPLED*BEADS;
            const mixed3 u = BETWEEN(r_nm, start+pairEnds[2*p], start+pairEnds[2*p+1]);
            stretches[index] = sqrt(u.x*u.x+u.y*u.y+u.z*u.z + 1e-20f) - pairMiddle[p];
        }
        SYNC_THREADS;
        for (int index = LOCAL_ID; index < COUPLED*REPLICAS_AT_ONCE; index += LOCAL_SIZE) {
            const int p = index%COUPLED, start = index-p;
            mixed pull = 0;
            for (int other = 0; other < COUPLED; other++)
                pull += couplings[p*COUPLED+other]*stretches[start+other];
            pulls[index] = pull;
            if (first+index/COUPLED < REPLICAS)
                energy += 0.5f*pull*stretches[index];
        }
#endif
        SYNC_THREADS;
        for (int index = LOCAL_ID; index < BEADS_AT_ONCE*LANES; index += LOCAL_SIZE) {
            const int lane = index%LANES, k = index/LANES, bead = k%BEADS, start = k-bead;
            mixed3 sum = make_mixed3(0, 0, 0);
            mixed part = 0;
#if HAS_QUADRATIC
            for (int other = lane; other < BEADS; other += LANES) {
                const mixed q = quadratic[bead*BEADS+other];
                sum.x += q*gradient[3*(start+other)];
                sum.y += q*gradient[3*(start+other)+1];
                sum.z += q*gradient[3*(start+other)+2];
            }
            part = 0.5f*(sum.x*gradient[3*k]+sum.y*gradient[3*k+1]+sum.z*gradient[3*k+2]);
#endif
            for (int entry = pairStart[bead]+lane; entry < pairStart[bead+1]; entry += LANES) {
                const mixed3 u = BETWEEN(r_nm, k, start+pairOther[entry]);
                const mixed distance = sqrt(u.x*u.x+u.y*u.y+u.z*u.z + 1e-20f);
                const mixed inverseVariance = pairConstants[3*entry+1], rate = pairConstants[3*entry+2];
                const mixed stretch = distance-pairConstants[3*entry];
                mixed slope;
                const mixed ratio = logRatio(rate*distance, &slope);
                part += 0.5f*(0.5f*inverseVariance*stretch*stretch + ratio);
                mixed pull = inverseVariance*stretch + rate*slope;
#if COUPLED
                pull += pulls[k/BEADS*COUPLED+pairOfEntry[entry]];
#endif
                pull /= distance;
                sum.x += pull*u.x;
                sum.y += pull*u.y;
                sum.z += pull*u.z;
            }
            for (int entry = wallStart[bead]+lane; entry < wallStart[bead+1]; entry += LANES) {
                const mixed3 u = BETWEEN(r_nm, k, start+wallOther[entry]);
                const mixed square = u.x*u.x+u.y*u.y+u.z*u.z, wall = wallDistance[entry];
                if (square < wall*wall) {
                    const mixed distance = sqrt(square + 1e-20f);
                    const mixed depth = 1.0f - distance/wall;
                    part += 0.5f*WALL_HEIGHT*depth*depth*depth;
                    const mixed pull = -3.0f*WALL_HEIGHT*depth*depth/(wall*distance);
                    sum.x += pull*u.x;
                    sum.y += pull*u.y;
                    sum.z += pull*u.z;
                }
            }
            if (first+k/BEADS < REPLICAS)
                energy += part;
            parts[3*index] = sum.x;
            parts[3*index+1] = sum.y;
            parts[3*index+2] = sum.z;
        }
        SYNC_THREADS;
        for (int k = LOCAL_ID; k < 3*BEADS_AT_ONCE; k += LOCAL_SIZE) {
            mixed sum = 0;
            for (int lane = 0; lane < LANES; lane++)
                sum += parts[3*(k/3*LANES+lane) + k%3];
            gradient[k] = sum;
        }
        SYNC_THREADS;
        ADD_FORCES(first, gradient, mean, scale)
    }
    ADD_ENERGY(energy, sums, scale)
}
