// Optimiser steps over flat lists of weights, rounded like those of the crate `kernels`. Settings that change from step to step are in
// `rates` in device memory, so that a recorded step can be replayed.

// g = gradient + decay · w; v = momentum · v + g; then w −= lr · v, or with Nesterov momentum w −= lr · (g + momentum · v).
// rates = {lr, momentum, decay}. `velocity` is null if the momentum is 0.
KERNEL sgd(float* weights, const float* gradient, float* velocity, const float* rates, int nesterov, int n) {
    float lr = rates[0], momentum = rates[1], decay = rates[2];
    FOR_EACH(i, n) {
        float w = weights[i], g = gradient[i] + decay * w;
        if (velocity) {
            float v = momentum * velocity[i] + g;
            velocity[i] = v;
            g = nesterov ? g + momentum * v : v;
        }
        weights[i] = w - lr * g;
    }
}

// Adam (Kingma & Ba 2015, algorithm 1) with the weight decay added to the gradient. rates = {lr/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), β₁, 1 − β₁, β₂,
// 1 − β₂, ε, decay}.
KERNEL adam(float* weights, const float* gradient, float* mean, float* square, const float* rates, int n) {
    float rate = rates[0], root = rates[1], epsilon = rates[6], decay = rates[7];
    FOR_EACH(i, n) {
        float w = weights[i], g = gradient[i] + decay * w;
        float m = rates[2] * mean[i] + rates[3] * g;
        float v = rates[4] * square[i] + rates[5] * g * g;
        mean[i] = m;
        square[i] = v;
        weights[i] = w - rate * m / (sqrtf(v) * root + epsilon);
    }
}
