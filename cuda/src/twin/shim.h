// Defines CUDA's built-ins for a C compiler, so that the kernel sources run on the CPU.

#include <math.h>
#include <stddef.h>

#define TWIN

static inline unsigned __float_as_uint(float x) {
    union { float x; unsigned bits; } both = {.x = x};
    return both.bits;
}

static inline float __uint_as_float(unsigned bits) {
    union { unsigned bits; float x; } both = {.bits = bits};
    return both.x;
}

#define KERNEL static void
#define DEVICE static inline
// The threads of a block run on one thread of the CPU, one block after the other.
#define SHARED static _Thread_local

struct Extent {
    unsigned x;
};

static _Thread_local struct Extent threadIdx, blockIdx, blockDim, gridDim;

static void wait_for_block(void);
#define __syncthreads() wait_for_block()
