// Conversions between `float` and bfloat16, the format of matrix products on a GPU.

// to = from, rounded to nearest, ties to even.
KERNEL narrow(const float* from, bits16* to, int n) {
    FOR_EACH(i, n) { to[i] = narrowed(from[i]); }
}

// to = from, or to += from.
KERNEL widen(const bits16* from, float* to, int add, int n) {
    FOR_EACH(i, n) {
        float value = widened(from[i]);
        to[i] = add ? to[i] + value : value;
    }
}
