# Recipes for people who work on plusminus. `just` lists them.

_default:
    @just --list

# Formatting, lints, documentation and licences: all that CI checks besides the tests.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo fetch --locked
    cargo deny --offline check bans licenses sources

# All tests.
test:
    cargo test --workspace --locked

# Needs `rustup target add aarch64-unknown-linux-gnu` and, of Debian's packages, qemu-user and gcc-aarch64-linux-gnu.

# The kernels' tests with NEON, on an emulated ARM processor.
test-neon:
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    cargo test --locked -p plusminus-kernels --target aarch64-unknown-linux-gnu

# Needs `rustup component add miri rust-src --toolchain nightly`. Miri does not support AVX-512, and most tests take too long in it.

# Every kernel once in Miri, which detects undefined behaviour, with AVX2.
miri:
    RUSTFLAGS="-C target-cpu=x86-64-v3" cargo +nightly miri test --locked -p plusminus-kernels --test kernels -- golden refusals

# On a host with a GPU: the tests that otherwise use a stand-in for NVIDIA's libraries.
test-gpu:
    PLUSMINUS_STAND_IN_INSIDE=1 cargo test --locked -p plusminus-cuda --lib -- through_the_driver --nocapture
    PLUSMINUS_STAND_IN_INSIDE=1 cargo test --locked -p plusminus-engines --lib -- drivers_calls --nocapture

# The kernels' tests with the address sanitizer; needs a nightly toolchain.
sanitize:
    RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked -p plusminus-kernels --test kernels --target x86_64-unknown-linux-gnu

# The smoke profile of every sweep that ships, on synthetic data: about half an hour on two cores.
smoke:
    cargo test --locked -p plusminus --test all -- shipped --include-ignored --test-threads 1

# Simulate clusters under faults of every kind. Prints the seed that breaks a promise, and the last events before.
simulate CLUSTERS="10000" SEED="0":
    cargo run --release --locked -p plusminus-sim -- --clusters {{CLUSTERS}} --seed {{SEED}}

# Replay the cluster of one seed: one line per event.
simulate-again SEED:
    cargo run --release --locked -p plusminus-sim -- --seed {{SEED}} --trace

# Kill, freeze, disconnect and fill up real processes: half a minute per round.
chaos ROUNDS="50" SEED="0":
    PLUSMINUS_CHAOS_ROUNDS={{ROUNDS}} PLUSMINUS_CHAOS_SEED={{SEED}} cargo test --locked -p plusminus --test faults -- chaos --nocapture

# Write the man pages of all commands into DIR.
man DIR="target/man":
    cargo run --release --locked -- man {{DIR}}

# Build the book into target/book; mdBook is installed on first use.
book:
    test -x target/mdbook/bin/mdbook || cargo install mdbook --locked --root target/mdbook
    target/mdbook/bin/mdbook build docs

# Print the table of the README.
quickstart:
    cargo run --release -- run sweeps/quickstart.yaml

# Train one job from the command line: epochs, measurements, images per second.
train *ARGS:
    cargo run --release -p plusminus-trainer --example train -- {{ARGS}}

# Train for some minutes and fail if memory grows.
soak MINUTES="10":
    cargo run --release -p plusminus-trainer --example soak -- {{MINUTES}}

# Make the images that ship from the full Fashion-MNIST in DIR.
make-fashion-mnist-10k DIR="/usr/share/datasets/fashion-mnist":
    python3 trainer/data/make-fashion-mnist-10k.py {{DIR}}

# A virtual environment with PyTorch, for the benchmarks (benches/README.md).
_pytorch:
    test -x target/pytorch/bin/python || python3 -m venv target/pytorch
    target/pytorch/bin/python -m pip install --quiet --requirement benches/pytorch/requirements.txt

# Tests that need large programs, which CI does not install: gradients against PyTorch, computed anew.
integration: pytorch-fixtures
    cargo test --locked -p plusminus-engines --lib -- pytorch

# Write PyTorch's results of one training step of each network, for the engines' tests.
pytorch-fixtures: _pytorch
    target/pytorch/bin/python benches/pytorch/fixtures.py

# Time training steps of our engine and of PyTorch.
bench-training *ARGS: _pytorch
    cargo build --release --locked -p plusminus-engines --example training-speed
    python3 benches/training.py {{ARGS}}

# Time training steps on a GPU, ours (one job and several at once) and PyTorch's.
bench-gpu *ARGS: _pytorch
    cargo build --release --locked -p plusminus-engines --example gpu-training-speed
    python3 benches/gpu.py {{ARGS}}

# Time eight trainings in our engine and in PyTorch.
bench-sweep *ARGS: _pytorch
    cargo build --release --locked
    python3 benches/sweep.py {{ARGS}}

# Measure the cost of a job besides its training, against targets, and against HyperQueue if HQ names its program (benches/README.md).
bench-orchestration *ARGS:
    cargo build --release --locked -p plusminus -p plusminus-worker --bin plusminus --example noop-worker
    python3 benches/orchestration.py {{ARGS}}

# Compare the test accuracies of our engine and PyTorch, with data sets from DATASETS/fashion-mnist and DATASETS/cifar-10.
bench-accuracy DATASETS: _pytorch
    cargo build --release --locked
    just _accuracy fashion-mnist-cnn {{DATASETS}} cnn fashion-mnist fashion-mnist --epochs 10 --lr 0.01
    just _accuracy cifar10-resnet20 {{DATASETS}} resnet20 cifar10 cifar-10 --epochs 3 --lr 0.02 --limit 10000

_accuracy SWEEP DATASETS NETWORK DATASET FOLDER *ARGS:
    mkdir -p target/accuracy
    target/pytorch/bin/python benches/pytorch/train.py {{NETWORK}} {{DATASET}} {{DATASETS}}/{{FOLDER}} {{ARGS}} > target/accuracy/{{SWEEP}}.jsonl
    target/release/plusminus run benches/sweeps/{{SWEEP}}.yaml --state target/accuracy/state --datasets {{DATASETS}} --format json > target/accuracy/{{SWEEP}}.json
    python3 benches/accuracy.py target/accuracy/{{SWEEP}}.jsonl target/accuracy/{{SWEEP}}.json
