// The network of kind `graph_transformer`: GraphTransformerPlan.h has the equations, GraphTransformerKernel.h the same for the host, and
// docs/native-plugin.md the way back.
//
// The work is a list of steps. In each of them every item (a matrix element, an edge, a bead) is worked out by one thread from what earlier
// steps have left in `scratch`, so that nothing needs local memory. FUSED: a group goes through all steps for one molecule after another,
// with a barrier behind each. Otherwise all threads of the device share a step of all molecules, and each step is a launch.
//
// Row: a bead of a molecule in a slot of the scratch memory. FUSED has a slot for each group, otherwise each replica has one.

// graph_layout.cc, graph_forward.cc and graph_backward.cc come before this text.

// Returns this thread's part of the energy (kT).
DEVICE inline mixed graphStep(int step, int id, int size, int firstRow, int rows, int shift, GRAPH_ARGUMENTS) {
    const int kind = KIND_OF(step), layer = LAYER_OF(step);
    mixed energy = 0;
    if (step < HEAD_STEP+2)
        energy = graphForward(kind, layer, id, size, firstRow, rows, shift, GRAPH_ARGUMENTS_AGAIN);
    else
        graphBackward(kind, layer, id, size, firstRow, rows, shift, GRAPH_ARGUMENTS_AGAIN);
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
