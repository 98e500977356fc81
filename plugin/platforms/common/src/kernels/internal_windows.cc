// Energies of stretches of beads of the network `internal`: InternalPlan.h has the equations, WindowsKernel.h the same for the host. Comes
// before internal.cc, which uses the three macros at the end.
//
// Stretches have their weights in common, so that all of them are one wide layer: a neuron of one stretch is a cell, whose value of
// replica g is values[cell*G+g]. A thread owns a cell for all replicas at hand. Weights lie in two layouts, for the way forward and the
// way back.

#if WINDOWS > 0
#define CELLS (WINDOWS*WINDOW_WIDTH)
#define WINDOW_INPUT_CELLS (WINDOWS*WINDOW_INPUTS)

// seenFrom, seenBy: the inputs that a feature is, by their cells, those of feature k from seenFrom[k] on.
#define WINDOW_ARGUMENTS GLOBAL const int* RESTRICT windowFeatures, GLOBAL const wreal* RESTRICT windowFactors, \
        GLOBAL const int* RESTRICT seenFrom, GLOBAL const int* RESTRICT seenBy, GLOBAL const wreal* RESTRICT windowForward, \
        GLOBAL const wreal* RESTRICT windowBackward, GLOBAL const wreal* RESTRICT windowBiases, \
        GLOBAL const wreal* RESTRICT windowOutputs, GLOBAL wreal* RESTRICT windowScratch,

#if WINDOWS_ARE_LOCAL
#define WINDOW_MEMORY LOCAL_ARG
#define DECLARE_WINDOWS \
    LOCAL wreal windowInputs[WINDOW_INPUT_CELLS*G]; \
    LOCAL wreal windowEven[CELLS*G]; \
    LOCAL wreal windowOdd[CELLS*G]; \
    LOCAL wreal windowSlopes[LAYERS*CELLS*G];
#else
#define WINDOW_MEMORY GLOBAL
#define DECLARE_WINDOWS \
    GLOBAL wreal* windowInputs = windowScratch+GROUP_ID*(WINDOW_INPUT_CELLS+(2+LAYERS)*CELLS)*G; \
    GLOBAL wreal* windowEven = windowInputs+WINDOW_INPUT_CELLS*G; \
    GLOBAL wreal* windowOdd = windowEven+CELLS*G; \
    GLOBAL wreal* windowSlopes = windowOdd+CELLS*G;
#endif

// Of every stretch, column and replica: `sum` over i < inputs of weights[i*columns+column]*input[i], and what becomes of it at `place`.
#define WINDOW_SUMS(weights, inputs, columns, input, result) \
    for (int cell = LOCAL_ID; cell < WINDOWS*(columns); cell += LOCAL_SIZE) { \
        const int column = cell%(columns), start = cell/(columns)*(inputs); \
        wreal total[G]; \
        for (int g = 0; g < G; g++) \
            total[g] = 0; \
        for (int i = 0; i < (inputs); i++) { \
            const wreal weight = (weights)[i*(columns)+column]; \
            for (int g = 0; g < G; g++) \
                total[g] += weight*input[(start+i)*G+g]; \
        } \
        for (int g = 0; g < G; g++) { \
            const int place = cell*G+g; \
            const wreal sum = total[g]; \
            result \
        } \
    } \
    SYNC_THREADS;

#define WINDOW_LAYER(layer, weights, inputs, input, output) \
    WINDOW_SUMS(weights, inputs, WINDOW_WIDTH, input, \
        const wreal biased = sum+windowBiases[(layer)*CELLS+cell]; \
        const wreal s = 1.0f/(1.0f+exp(-biased)); \
        output[place] = biased*s; \
        windowSlopes[(layer)*CELLS*G+place] = s*(1.0f+biased*(1.0f-s));)

#define WINDOW_WEIGHTS(layer) (WINDOW_INPUTS*WINDOW_WIDTH+((layer)-1)*WINDOW_WIDTH*WINDOW_WIDTH)

// From features to the energy, to which this thread's part is added, and back: windowInputs then hold the slopes along the features.
#define WINDOW_ENERGIES(first, features, energy) \
    for (int k = LOCAL_ID; k < WINDOW_INPUT_CELLS*G; k += LOCAL_SIZE) \
        windowInputs[k] = windowFactors[k/G]*features[windowFeatures[k/G]*G+k%G]; \
    SYNC_THREADS; \
    WINDOW_LAYER(0, windowForward, WINDOW_INPUTS, windowInputs, windowEven) \
    WINDOW_MEMORY wreal* windowLast = windowEven; \
    WINDOW_MEMORY wreal* windowNext = windowOdd; \
    for (int layer = 1; layer < LAYERS; layer++) { \
        WINDOW_LAYER(layer, windowForward+WINDOW_WEIGHTS(layer), WINDOW_WIDTH, windowLast, windowNext) \
        WINDOW_MEMORY wreal* swapped = windowLast; \
        windowLast = windowNext; \
        windowNext = swapped; \
    } \
    for (int k = LOCAL_ID; k < CELLS*G; k += LOCAL_SIZE) { \
        const wreal weight = windowOutputs[k/G]; \
        if ((first)+k%G < REPLICAS) \
            energy += weight*windowLast[k]; \
        windowLast[k] = weight*windowSlopes[(LAYERS-1)*CELLS*G+k]; \
    } \
    SYNC_THREADS; \
    for (int layer = LAYERS-1; layer > 0; layer--) { \
        WINDOW_SUMS(windowBackward+WINDOW_WEIGHTS(layer), WINDOW_WIDTH, WINDOW_WIDTH, windowLast, \
            windowNext[place] = sum*windowSlopes[(layer-1)*CELLS*G+place];) \
        WINDOW_MEMORY wreal* swapped = windowLast; \
        windowLast = windowNext; \
        windowNext = swapped; \
    } \
    WINDOW_SUMS(windowBackward, WINDOW_WIDTH, WINDOW_INPUTS, windowLast, \
        windowInputs[place] = sum*windowFactors[cell];)

// Adds their slopes to those along the features, each feature's by one thread, in an order that does not vary.
#define ADD_WINDOW_SLOPES(features) \
    for (int k = LOCAL_ID; k < FEATURES*G; k += LOCAL_SIZE) \
        for (int entry = seenFrom[k/G]; entry < seenFrom[k/G+1]; entry++) \
            features[k] += windowInputs[seenBy[entry]*G+k%G]; \
    SYNC_THREADS;
#else
#define WINDOW_ARGUMENTS
#define DECLARE_WINDOWS
#define WINDOW_ENERGIES(first, features, energy)
#define ADD_WINDOW_SLOPES(features)
#endif
