#define FPFORCE_ISA x86_64_v3
#define FPFORCE_VECTOR_BYTES 32
#include "KernelTable.inl"
