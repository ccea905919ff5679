// Launches on the CPU: runs every thread of every block in turn. Kernels with barriers run each thread of a block on a stack of its own.

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK = 64 * 1024, MOST = 1024 };

enum { DONE = 0, UNKNOWN = 1, NO_MEMORY = 2, DIVERGED = 3 };

static _Thread_local struct {
    ucontext_t scheduler, threads[MOST];
    int finished[MOST];
    unsigned current;
    void (*call)(void**);
    void** arguments;
} block;

// Called by a thread that reaches a barrier.
static void wait_for_block(void) { swapcontext(&block.threads[block.current], &block.scheduler); }

static void begin(void) {
    block.call(block.arguments);
    block.finished[block.current] = 1;
}

// Runs a block with barriers: all threads run up to a barrier before any continues. It is an error if only some threads reach one.
static int run_waiting(unsigned count, char* stacks) {
    for (unsigned i = 0; i < count; i++) {
        getcontext(&block.threads[i]);
        block.threads[i].uc_stack.ss_sp = stacks + (size_t)i * STACK;
        block.threads[i].uc_stack.ss_size = STACK;
        block.threads[i].uc_link = &block.scheduler;
        block.finished[i] = 0;
        makecontext(&block.threads[i], begin, 0);
    }
    for (;;) {
        unsigned over = 0;
        for (unsigned i = 0; i < count; i++) {
            block.current = i;
            threadIdx.x = i;
            swapcontext(&block.scheduler, &block.threads[i]);
            over += block.finished[i];
        }
        if (over == count) return DONE;
        if (over != 0) return DIVERGED;
    }
}

int twin_launch(const char* name, unsigned grid, unsigned threads, void** arguments) {
    const struct Twin* twin = NULL;
    for (size_t i = 0; i < sizeof TWINS / sizeof *TWINS; i++) {
        if (strcmp(TWINS[i].name, name) == 0) twin = &TWINS[i];
    }
    if (!twin || threads > MOST) return UNKNOWN;
    gridDim.x = grid;
    blockDim.x = threads;
    char* stacks = NULL;
    if (twin->waits) {
        stacks = malloc((size_t)threads * STACK);
        if (!stacks) return NO_MEMORY;
        block.call = twin->call;
        block.arguments = arguments;
    }
    int result = DONE;
    for (unsigned b = 0; b < grid && result == DONE; b++) {
        blockIdx.x = b;
        if (twin->waits) {
            result = run_waiting(threads, stacks);
        } else {
            for (unsigned i = 0; i < threads; i++) {
                threadIdx.x = i;
                twin->call(arguments);
            }
        }
    }
    free(stacks);
    return result;
}
