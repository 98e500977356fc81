#ifndef FPFORCE_EXPORT_H_
#define FPFORCE_EXPORT_H_

/** Marks what libFPForce offers to other libraries; everything else in it is hidden. */
#define FPFORCE_EXPORT __attribute__((visibility("default")))

#endif
