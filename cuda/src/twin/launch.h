// An entry of the kernel table.

struct Twin {
    const char* name;
    void (*call)(void**);
    int waits;
};
