#define FPFORCE_ISA portable
#define FPFORCE_VECTOR_BYTES 16
#include "KernelTable.inl"
