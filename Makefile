# Thin on purpose: what a target does is a command you can type yourself. `make` alone lists them.
# ARGS goes to the program: make demo ARGS='--seconds 60 -o json'
.PHONY: help setup demo models test lint fmt bench soak sim planted fuzz docs

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 14

setup: ## install what is missing outside cargo (through apt when allowed), or say what to install
	@scripts/setup test

demo: ## five nodes, three regions, a controller that learns: about two minutes
	@scripts/setup build && cargo build -p isobar-cli --bin isobar
	@cargo run -q -p isobar-cli --bin isobar -- demo $(ARGS)

models: ## train and judge every model on the sets in ../shared/datasets (ARGS=--data-root=DIR), write docs/src/models.md
	@scripts/setup build && cargo build -p isobar-cli --bin isobar
	@cargo run -q -p isobar-cli --bin isobar -- model survey $(ARGS)

test: ## formatting and every test, with a throw-away PostgreSQL
	@scripts/setup test && cargo fmt --all --check
	scripts/with-postgres cargo test --workspace $(ARGS)

lint: ## clippy, warnings are errors
	@scripts/setup lint
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format every source file
	cargo fmt --all

bench: ## the figures of docs/src/performance.md, on this machine (release build)
	@scripts/setup build
	cargo run --release -p isobar-cli --bin isobar -- bench $(or $(ARGS),kv)

soak: ## a cluster under load and faults for MINUTES (60), then every write is looked for
	@scripts/setup build && cargo build -p isobar-cli --bin isobar
	@cargo run -q -p isobar-cli --bin isobar -- soak --minutes $(or $(MINUTES),60) $(ARGS)

sim: ## SEEDS (50) simulated clusters under faults, each the same every time
	@scripts/setup build && cargo build -q -p isobar-sim
	@cargo run -q -p isobar-sim -- --seeds $(or $(SEEDS),50) $(ARGS)

planted: ## that the simulator finds every bug planted into the node, within SEEDS (50) seeds each
	@scripts/setup build && cargo build -q --workspace --features isobar-sim/planted-bugs --bin isobar-sim
	@$(or $(CARGO_TARGET_DIR),target)/debug/isobar-sim --planted --seeds $(or $(SEEDS),50) $(ARGS)

fuzz: ## damaged bytes into the decoders, CASES (10000) of each kind
	@scripts/setup test
	ISOBAR_FUZZ_CASES=$(or $(CASES),10000) cargo test --workspace --lib fuzz $(ARGS)

docs: ## the book into docs/book (needs mdbook: cargo install mdbook)
	@command -v mdbook >/dev/null || { echo 'install it first: cargo install mdbook --locked' >&2; exit 69; }
	mdbook build docs
