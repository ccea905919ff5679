// How a kernel is called.

struct Twin {
    const char* name;
    void (*call)(void**);
    int waits;
};
