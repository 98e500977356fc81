#define FPFORCE_ISA x86_64_v4
#define FPFORCE_VECTOR_BYTES 64
#include "KernelTable.inl"
