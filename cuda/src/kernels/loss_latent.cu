// Latent class-conditional noise: samples a latent label per row from the posterior given its logits and its given label, and counts the
// pairs of labels. A batch contains a sample at most once.

// Recomputes T if the step's second integer is not 0: (counts + α) divided by its row sums; and ln T, one column of T after the other.
// One thread per row. parameters = {α}.
KERNEL latent_transition(const int* step, const int* counts, const double* parameters, double* transition,
                         double* columns, int classes) {
    FOR_EACH(i, classes) {
        if (!step[1]) continue;
        double sum = 0.0;
        for (int y = 0; y < classes; y++) sum += (double)counts[i * classes + y] + parameters[0];
        for (int y = 0; y < classes; y++) {
            double share = ((double)counts[i * classes + y] + parameters[0]) / sum;
            transition[i * classes + y] = share;
            columns[y * classes + i] = log(share);
        }
    }
}

// Samples the latent label of every row with one random number per row, in their order; −1 for a row without a given label. Value and
// gradient are those of cross entropy with the sampled label.
KERNEL latent_draw(const float* logits, const int* labels, const int* samples, const double* columns, const int* stream,
                   int* drawn, double* values, float* gradient, int n, int classes, int count) {
    unsigned long long first = stream_start(stream);
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        float* g = gradient + i * classes;
        int label = label_of(labels, samples, i, classes, count), none = 1, latent = -1, last = -1;
        drawn[i] = -1;
        if (label < 0) {
            write_nan(values + i, g, classes);
            continue;
        }
        const double* column = columns + label * classes;
        for (int j = 0; j < classes; j++) none = none && with_offset(z, column, j) < -LARGEST;
        const double* offset = none ? 0 : column;
        double evidence = log_sum_exp(z, offset, classes, -1);
        unsigned words[16];
        chacha(stream, (first + i) / 8, words);
        double left = (double)fraction(words, (int)((first + i) % 8)) * (1.0 / 9007199254740992.0);
        for (int j = 0; j < classes && latent < 0; j++) {
            double r = exp(with_offset(z, offset, j) - evidence);
            if (left < r) latent = j;
            if (r > 0.0) last = j;
            left -= r;
        }
        // A remainder due to rounding selects the last possible label. If no probability is a number, the given label stays.
        if (latent < 0) latent = last < 0 ? label : last;
        drawn[i] = latent;
        double normaliser = log_sum_exp(z, 0, classes, -1);
        values[i] = normaliser - (double)z[latent];
        scaled(z, normaliser, latent, 1.0 / (double)n, 1.0, g, classes);
    }
}

// Updates the counts from the samples' previous latent labels to the new ones. One thread per pair of latent and given label.
KERNEL latent_count(const int* labels, const int* samples, const int* drawn, const int* latent, int* counts, int n,
                    int classes, int count) {
    FOR_EACH(i, classes * classes) {
        int z = i / classes, y = i % classes, moved = 0;
        for (int row = 0; row < n; row++) {
            if (drawn[row] < 0 || label_of(labels, samples, row, classes, count) != y) continue;
            moved += (drawn[row] == z) - (latent[samples[row]] == z);
        }
        counts[i] += moved;
    }
}

// Stores the new latent labels.
KERNEL latent_keep(const int* samples, const int* drawn, int* latent, int n) {
    FOR_EACH(i, n) {
        if (drawn[i] >= 0) latent[samples[i]] = drawn[i];
    }
}
