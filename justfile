# Recipes for people who work on plusminus. `just` lists them.

_default:
    @just --list

# Formatting, lints and licences: what CI asks besides the tests.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo deny --offline check bans licenses sources

# The tests.
test:
    cargo test --workspace --locked

# The table that the README shows.
quickstart:
    cargo run --release -- run sweeps/quickstart.yaml

# One training from the command line: epochs, measurements, images a second.
train *ARGS:
    cargo run --release -p plusminus-trainer --example train -- {{ARGS}}

# Make the images that ship from the full Fashion-MNIST in DIR.
make-fashion-mnist-10k DIR="/usr/share/datasets/fashion-mnist":
    python3 trainer/data/make-fashion-mnist-10k.py {{DIR}}
