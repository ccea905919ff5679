// Determinant-based mutual information of a batch: −ln(|det M| + ε), where M counts given labels against predictions. core's `dmi` derives
// the formulas.

// Predictions p of every row; NaN if the row has no label.
KERNEL determinant_p(const float* logits, const int* labels, const int* samples, double* p, int n, int classes,
                     int count) {
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        int label = label_of(labels, samples, i, classes, count);
        double normaliser = label < 0 ? sqrt(-1.0) : log_sum_exp(z, 0, classes, -1);
        for (int j = 0; j < classes; j++) p[i * classes + j] = exp((double)z[j] - normaliser);
    }
}

// Mean prediction per given label, and the number of rows with that label. One thread per pair of label and class.
KERNEL determinant_means(const double* p, const int* labels, const int* samples, double* means, double* counts, int n,
                         int classes, int count) {
    FOR_EACH(i, classes * classes) {
        int y = i / classes, j = i % classes;
        double sum = 0.0, number = 0.0;
        for (int row = 0; row < n; row++) {
            if (label_of(labels, samples, row, classes, count) != y) continue;
            sum += p[row * classes + j];
            number += 1.0;
        }
        means[i] = sum / number;
        if (j == 0) counts[y] = number;
    }
}

// The value of the loss, and in `state` the share of the gradient: 0 if M is singular, NaN if a prediction is. parameters = {ε, whether M
// is divided by n}.
DEVICE void determinant_value(double log_determinant, const double* counts, const double* parameters, int wrong,
                              int singular, double* value, double* state, int n, int classes) {
    double log_epsilon = log(parameters[0]), of_counts = 0.0;
    for (int y = 0; y < classes; y++) of_counts += log(counts[y]);
    double of_samples = parameters[1] != 0.0 ? (double)classes * log((double)n) : 0.0;
    double determinant = log_determinant + of_counts - of_samples, above = determinant - log_epsilon;
    state[0] = wrong ? sqrt(-1.0) : singular ? 0.0 : 1.0 / (1.0 + exp(-above));
    if (wrong) {
        value[0] = sqrt(-1.0);
    } else if (singular) {
        value[0] = -log_epsilon;
    } else {
        value[0] = -(fmax(determinant, log_epsilon) + log1p(exp(-fabs(above))));
    }
}

// Inverts the matrix of means with one block: Gauss–Jordan elimination with full pivoting, the first of equal pivots. `side` becomes the
// inverse with rows in pivot order, `inverse` has them in their own order. `scratch` has 3 × classes values. See `determinant_value` for
// the other outputs.
KERNEL determinant_invert(const double* p, const double* counts, double* means, double* side, double* inverse,
                          double* scratch, const double* parameters, double* value, double* state, int n, int classes) {
    SHARED double most[LANES * ROWS];
    SHARED int place[LANES * ROWS];
    int me = threadIdx.x, all = LANES * ROWS, wrong = 0, missing = 0, singular = 0;
    double *factors = scratch, *columns = scratch + classes, *taken = scratch + 2 * classes;
    double log_determinant = 0.0, least = 16.0 * (double)classes * 2.220446049250313e-16;
    for (int i = me; i < n * classes; i += all) wrong |= !(p[i] == p[i]);
    for (int i = me; i < classes; i += all) missing |= counts[i] == 0.0;
    for (int i = me; i < classes * classes; i += all) side[i] = i % (classes + 1) == 0 ? 1.0 : 0.0;
    for (int i = me; i < classes; i += all) taken[i] = 0.0;
    place[me] = wrong | missing << 1;
    __syncthreads();
    wrong = missing = 0;
    for (int i = 0; i < all; i++) {
        wrong |= place[i] & 1;
        missing |= place[i] >> 1;
    }
    __syncthreads();
    singular = wrong | missing;
    for (int step = 0; step < classes && !singular; step++) {
        double found = 0.0;
        int at = step * classes;
        for (int i = step * classes + me; i < classes * classes; i += all) {
            if (taken[i % classes] == 0.0 && fabs(means[i]) > found) {
                found = fabs(means[i]);
                at = i;
            }
        }
        most[me] = found;
        place[me] = at;
        __syncthreads();
        found = 0.0;
        at = step * classes;
        for (int i = 0; i < all; i++) {
            if (most[i] > found || (most[i] == found && found > 0.0 && place[i] < at)) {
                found = most[i];
                at = place[i];
            }
        }
        singular = found <= least;
        if (!singular) {
            int row = at / classes, column = at % classes;
            double pivot = means[at];
            log_determinant += log(found);
            __syncthreads();
            if (me == 0) {
                columns[step] = (double)column;
                taken[column] = 1.0;
            }
            for (int j = me; j < 2 * classes; j += all) {
                double* matrix = j < classes ? means : side;
                int here = step * classes + j % classes, there = row * classes + j % classes;
                double upper = matrix[here], lower = matrix[there];
                matrix[there] = upper;
                matrix[here] = lower / pivot;
            }
            __syncthreads();
            for (int i = me; i < classes; i += all) factors[i] = means[i * classes + column];
            __syncthreads();
            for (int i = me; i < 2 * classes * classes; i += all) {
                double* matrix = i < classes * classes ? means : side;
                int cell = i % (classes * classes), line = cell / classes;
                if (line != step) matrix[cell] -= factors[line] * matrix[step * classes + cell % classes];
            }
        }
        __syncthreads();
    }
    for (int i = me; i < classes * classes && !singular; i += all) {
        inverse[(int)columns[i / classes] * classes + i % classes] = side[i];
    }
    if (me == 0) determinant_value(log_determinant, counts, parameters, wrong, singular, value, state, n, classes);
}

// g = p ⊙ (v − ⟨p, v⟩), where v = −share · (the label's row of M⁻ᵀ).
KERNEL determinant_gradient(const float* logits, const int* labels, const int* samples, const double* p,
                            const double* inverse, const double* counts, const double* state, float* gradient, int n,
                            int classes, int count) {
    double share = state[0];
    FOR_EACH(i, n) {
        const float* z = logits + i * classes;
        const double* mine = p + i * classes;
        float* g = gradient + i * classes;
        int label = label_of(labels, samples, i, classes, count), top = largest(z, classes);
        if (label < 0 || !(share > 0.0)) {
            // 0 if M is singular, NaN if the row has no label.
            for (int j = 0; j < classes; j++) g[j] = label < 0 ? NOT_A_NUMBER : (float)share;
            continue;
        }
        double mean = 0.0, left = 0.0;
        for (int j = 0; j < classes; j++) {
            mean += mine[j] * (-share * inverse[j * classes + label] / counts[label]);
        }
        for (int j = 0; j < classes; j++) {
            double d = mine[j] * (-share * inverse[j * classes + label] / counts[label] - mean);
            if (j != top) left += d;
            g[j] = (float)d;
        }
        g[top] = (float)-left;
    }
}
