// Batch norm statistics and the sums of its gradient, each in two stages: every thread adds up one channel of a chunk of pixels in order,
// then a block adds up the chunks of some channels in order. The chunks follow from the number of pixels alone, and nothing is added with
// atomics, so every device computes the same values.

// Mean and sum of squared deviations of every chunk: partial[chunk, {mean, squares}, channel].
KERNEL moments(const float* x, float* partial, int pixels, int channels, int chunk) {
    unsigned chunks = (pixels + chunk - 1) / chunk;
    FOR_EACH(i, chunks * channels) {
        unsigned channel = i % channels, part = i / channels;
        int first = part * chunk;
        int count = pixels - first < chunk ? pixels - first : chunk;
        const float* from = x + (unsigned)first * channels + channel;
        float sum = 0.0f;
        for (int pixel = 0; pixel < count; pixel++) sum += from[pixel * channels];
        float mean = sum / (float)count;
        // A second pass over the values keeps precision if the mean is large.
        float squares = 0.0f;
        for (int pixel = 0; pixel < count; pixel++) {
            float distance = from[pixel * channels] - mean;
            squares = fmaf(distance, distance, squares);
        }
        partial[2 * part * channels + channel] = mean;
        partial[(2 * part + 1) * channels + channel] = squares;
    }
}

// Σ g and Σ g · (x − mean) of every chunk, where g is the gradient that rectification passes: partial[chunk, {sum, product}, channel].
KERNEL gradient_sums(const float* gradient, const float* x, const float* scale, const float* shift, int rectify,
                     const float* mean, float* partial, int pixels, int channels, int chunk) {
    unsigned chunks = (pixels + chunk - 1) / chunk;
    FOR_EACH(i, chunks * channels) {
        unsigned channel = i % channels, part = i / channels;
        int first = part * chunk;
        int count = pixels - first < chunk ? pixels - first : chunk;
        unsigned start = (unsigned)first * channels + channel;
        float sum = 0.0f, product = 0.0f, middle = mean ? mean[channel] : 0.0f;
        for (int pixel = 0; pixel < count; pixel++) {
            float value = x[start + pixel * channels];
            float g = passed_gradient(gradient[start + pixel * channels], value, scale, shift, rectify, channel);
            sum += g;
            product = fmaf(g, value - middle, product);
        }
        partial[2 * part * channels + channel] = sum;
        partial[(2 * part + 1) * channels + channel] = product;
    }
}

// Adds up one value per row of a block, for each lane, in the order of the rows. Every thread returns the sum of its lane.
DEVICE double over_rows(double* shared, double value, int lane, int row) {
    __syncthreads();
    shared[row * LANES + lane] = value;
    __syncthreads();
    double sum = 0.0;
    for (int other = 0; other < ROWS; other++) sum += shared[other * LANES + lane];
    return sum;
}

// Writes scale and shift so that scale · x + shift = gamma · (x − mean)/√(variance + ε) + beta.
DEVICE void normalise(double mean, double variance, float epsilon, float gamma, float beta, float* scale, float* shift,
                      float* means, double* inverses, int channel) {
    double inverse = 1.0 / sqrt(variance + (double)epsilon);
    double factor = (double)gamma * inverse;
    means[channel] = (float)mean;
    inverses[channel] = inverse;
    scale[channel] = (float)factor;
    shift[channel] = (float)((double)beta - mean * factor);
}

// A running statistic after an update towards `to`.
DEVICE float updated(float old, double to, double momentum) {
    return (float)((double)old * (1.0 - momentum) + to * momentum);
}

// Scale and shift per channel from the statistics of all chunks (Chan, Golub & LeVeque 1983). Updates the running statistics of the first
// `real` channels. A block has LANES channels × ROWS rows. `bias` is optional.
KERNEL settle(const float* partial, int pixels, int channels, int chunk, int real, float epsilon, float momentum,
              const float* gamma, const float* beta, const float* bias, float* running_mean, float* running_variance,
              float* scale, float* shift, float* mean, double* inverse) {
    SHARED double shared[LANES * ROWS];
    int lane = threadIdx.x % LANES, row = threadIdx.x / LANES, channel = blockIdx.x * LANES + lane;
    int chunks = (pixels + chunk - 1) / chunk, last = pixels - (chunks - 1) * chunk;
    double sum = 0.0;
    for (int part = row; part < chunks; part += ROWS) {
        int count = part + 1 == chunks ? last : chunk;
        sum += (double)partial[2 * part * channels + channel] * (double)count;
    }
    double middle = over_rows(shared, sum, lane, row) / (double)pixels;
    double squares = 0.0;
    for (int part = row; part < chunks; part += ROWS) {
        int count = part + 1 == chunks ? last : chunk;
        double distance = (double)partial[2 * part * channels + channel] - middle;
        squares += (double)partial[(2 * part + 1) * channels + channel] + (double)count * distance * distance;
    }
    squares = over_rows(shared, squares, lane, row);
    if (row == 0) {
        normalise(middle, squares / (double)pixels, epsilon, gamma[channel], beta[channel], scale, shift, mean, inverse,
                  channel);
        if (channel < real) {
            double offset = bias ? (double)bias[channel] : 0.0;
            double degrees = pixels > 1 ? (double)(pixels - 1) : 1.0;
            running_mean[channel] = updated(running_mean[channel], middle + offset, (double)momentum);
            running_variance[channel] = updated(running_variance[channel], squares / degrees, (double)momentum);
        }
    }
}

// Scale and shift per channel from the running statistics, which include the bias.
KERNEL settle_running(int channels, int real, float epsilon, const float* gamma, const float* beta, const float* bias,
                      const float* running_mean, const float* running_variance, float* scale, float* shift, float* mean,
                      double* inverse) {
    FOR_EACH(i, channels) {
        int channel = i, there = channel < real;
        double middle = there ? (double)running_mean[channel] - (bias ? (double)bias[channel] : 0.0) : 0.0;
        double variance = there ? (double)running_variance[channel] : 0.0;
        normalise(middle, variance, epsilon, gamma[channel], beta[channel], scale, shift, mean, inverse, channel);
    }
}

// Gradients of scale and shift from the sums of all chunks, and the factors of
// dx = s/σ (g − Σg/N − x̂ Σ(g x̂)/N) = α g + β x + γ, with x̂ = (x − mean)/σ.
KERNEL unsettle(const float* partial, int chunks, int pixels, int channels, const float* gamma, const float* mean,
                const double* inverse, float* scale_gradient, float* shift_gradient, float* alpha, float* beta,
                float* offset) {
    SHARED double shared[LANES * ROWS];
    int lane = threadIdx.x % LANES, row = threadIdx.x / LANES, channel = blockIdx.x * LANES + lane;
    double sum = 0.0, product = 0.0;
    for (int part = row; part < chunks; part += ROWS) {
        sum += (double)partial[2 * part * channels + channel];
        product += (double)partial[(2 * part + 1) * channels + channel];
    }
    sum = over_rows(shared, sum, lane, row);
    product = over_rows(shared, product, lane, row);
    if (row == 0) {
        double of_one = inverse[channel], normalised = product * of_one;
        double factor = (double)gamma[channel] * of_one;
        double slope = -factor * normalised * of_one / (double)pixels;
        shift_gradient[channel] = (float)sum;
        scale_gradient[channel] = (float)normalised;
        alpha[channel] = (float)factor;
        beta[channel] = (float)slope;
        offset[channel] = (float)(-factor * sum / (double)pixels - slope * (double)mean[channel]);
    }
}

// Gradient of a bias from the sums of all chunks.
KERNEL unsettle_bias(const float* partial, int chunks, int channels, float* gradient) {
    SHARED double shared[LANES * ROWS];
    int lane = threadIdx.x % LANES, row = threadIdx.x / LANES, channel = blockIdx.x * LANES + lane;
    double sum = 0.0;
    for (int part = row; part < chunks; part += ROWS) sum += (double)partial[2 * part * channels + channel];
    sum = over_rows(shared, sum, lane, row);
    if (row == 0) gradient[channel] = (float)sum;
}
