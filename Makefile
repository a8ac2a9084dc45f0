# Two commands matter: `make up` and `make test`. Both ask nothing and may be run again at any time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

target := $(or $(CARGO_TARGET_DIR),target)
msb := $(abspath $(target))/release/msb
boot := $(abspath $(target))/boot
# Where msb looks for the guest when nothing else is said.
home := $(or $(MSB_HOME),$(HOME)/.microsandbox)
quickstart := cd examples/quickstart &&
# Installing and packing: where to, and a finished msb to take instead of building one with the profile `dist`.
PREFIX ?= /usr/local
DESTDIR ?=
BINARY ?= $(abspath $(target))/dist/msb
packages := $(abspath $(target))/packages
tree := $(packages)/tree
# Two processors compile and test; end-to-end tests also wait for guests and timeouts.
export RUST_TEST_THREADS ?= 2
E2E_THREADS ?= 3
# Builds what the tests run and lints it in the same pass: `cargo clippy` would compile every dependency once more.
lint := RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/.ci/clippy-rustc

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1 \2/p' $(MAKEFILE_LIST) | while read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

.PHONY: up
up: packages ## Build everything and bring examples/quickstart up
	@.ci/beside msb '$(MAKE) build' -- guest '$(MAKE) install-guest' images 'examples/make-image examples/quickstart/image'
	@$(quickstart) $(msb) up -d --wait
	@$(quickstart) $(msb) ps
	@printf '%s\n' '' 'The quickstart runs. Next, for example:' '' \
		'  export PATH="$(patsubst %/,%,$(dir $(msb))):$$PATH"' \
		'  cd examples/quickstart' \
		'  msb exec web -- greet            # a script from the Sandboxfile' \
		'  msb exec -t web -- sh            # a shell in the guest' \
		'  msb logs -f worker               # follow what it prints' \
		'  msb plan                         # what a change of the Sandboxfile would do' \
		'  msb down                         # and nothing is left' ''

.PHONY: down
down: ## Take examples/quickstart down again
	@[ ! -x $(msb) ] || { $(quickstart) $(msb) down; }

.PHONY: test
test: ## Check everything that .ci/run checks
	@.ci/stage packages .ci/packages umoci skopeo docker-registry apache2-utils python3-cbor2 debootstrap curl gdb git nginx-light iptables ipset nftables iproute2 tinyproxy-bin microsocks strace
	@.ci/stage fmt cargo fmt --all --check
	@.ci/stage guest $(MAKE) guest
	@.ci/stage build $(MAKE) build-tests
# The emulated host has one processor, and the fuzzer takes one at a time.
	@.ci/beside krun '$(MAKE) krun' -- \
		unit '$(MAKE) unit' \
		package '$(MAKE) package' \
		fuzz 'tests/fuzz/run' \
		e2e '$(MAKE) e2e' \
		sdk '$(MAKE) sdk' \
		user '$(MAKE) as-user'

.PHONY: unit
unit: ## Run the tests that boot nothing (ARGS="reference" picks some)
	@$(lint) cargo test --quiet --profile checked --workspace --exclude tests --no-fail-fast -- $(ARGS)

.PHONY: e2e
e2e: guest exerciser examples webstack build-tests ## Run the end-to-end tests on this host (ARGS="lifecycle" picks some)
	@# Signals that nohup or a background shell ignores would stay ignored in every msb that a test signals.
	@env --default-signal RUST_TEST_THREADS=$(E2E_THREADS) $(lint) \
		cargo test --profile checked --workspace --test e2e -- $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz the parsers of hostile bytes (ARGS="60 kdl stack": seconds each, and some of the targets)
	@tests/fuzz/run $(ARGS)

.PHONY: as-user
as-user: guest examples build-tests ## Run some of them as an ordinary user, for root
	@$(lint) tests/as-user $(ARGS)

.PHONY: krun
krun: guest exerciser examples build-tests ## Run some of them under libkrun, in an emulated KVM host
	@$(lint) tests/krun $(ARGS)

.PHONY: suites
suites: guest exerciser examples webstack build-tests ## Run the long tests of mounts and of clients (ARGS="pjdfstest random" picks some)
	@$(lint) tests/suites/run $(ARGS)

.PHONY: sdk
sdk: guest build-tests ## Test the SDKs and compare them (ARGS=--packages also builds and installs their packages)
	@env --default-signal tests/sdk $(ARGS)

.PHONY: long
long: guest examples build ## Run the long tests: faults, many sandboxes, an hour of churn (LONG="many" picks some)
	@.ci/packages python3 faketime
	@for test in $(or $(LONG),faults many soak); do tests/$$test --msb $(msb) $(ARGS); done

.PHONY: bench
bench: guest examples webstack ## Measure: cold start, exec, no-op up, ps, memory, mounts, network, large projects, pull, unpack, TLS, hostile guests
	@.ci/packages docker-compose docker-registry skopeo umoci apache2-utils iperf3 iproute2 passt libcap-ng-dev libseccomp-dev python3-venv
	@cargo build --release --workspace --bins --examples
	@$(target)/release/bench $(ARGS)

.PHONY: build
build: ## Build msb
	@cargo build --release --package msb

# Always the whole workspace: a part of it would have its dependencies built again, with fewer features.
.PHONY: build-tests
build-tests: ## Build what the tests run, and lint it
	@$(lint) cargo build --profile checked --workspace --all-targets

.PHONY: packages
packages: ## Install the system packages that are missing
	@.ci/packages

.PHONY: guest
guest: ## Build the guest's kernel (once for a machine) and its agent
	@mkdir -p $(boot)
	@kernel=$${MSB_KERNEL:-$$(agentd/kernel/build)}; ln -sfn "$$(realpath "$$kernel")" $(boot)/vmlinux
	@initramfs=$${MSB_INITRAMFS:-$$(agentd/build)}; ln -sfn "$$(realpath "$$initramfs")" $(boot)/initramfs.cpio

.PHONY: exerciser
exerciser: ## Build the program that tests run in guests
	@mkdir -p $(boot)
	@program=$$(tests/exerciser/build); ln -sfn "$$(realpath "$$program")" $(boot)/exerciser

# By digest: a sandbox that runs goes on with the files that it booted from.
.PHONY: install-guest
install-guest: guest
	@install -d -m 0700 $(home) $(home)/guest
	@for file in vmlinux initramfs.cpio; do \
		digest=$$(sha256sum $(boot)/$$file | cut -c1-16); \
		folder=$(home)/guest/$$digest; \
		if [ ! -f $$folder/$$file ]; then \
			install -D -m 0644 $(boot)/$$file $$folder/.$$file.part; \
			mv $$folder/.$$file.part $$folder/$$file; \
		fi; \
		ln -sfn $$digest/$$file $(home)/guest/$$file; \
	done

.PHONY: webstack
webstack: ## Make the images of examples/webstack
	@.ci/packages curl nginx-light python3
	@examples/make-webstack

.PHONY: examples
examples: ## Make the images that the examples boot from
	@.ci/packages python3 faketime
	@examples/make-python examples/devserver/image
	@examples/make-image $(patsubst %/Sandboxfile,%/image,$(filter-out examples/devserver/%,$(wildcard examples/*/Sandboxfile)))

# `sudo make install` has no cargo: it takes what `make dist-build` has built.
.PHONY: dist-build
dist-build: ## Build what `install` and `dist` take: msb, small and quick to start, and the guest
	@if command -v cargo >/dev/null; then \
		[ "$(origin BINARY)" != file ] || $(dist_flags) cargo build --profile dist --package msb; \
		$(MAKE) guest; \
	fi

# The paths of this machine do not belong into panic messages, and the same source gives the same program elsewhere.
# Packed relocations are smaller, and less is read at each start; they need glibc 2.36.
remap = $(1)=$(HOME)/.cargo=/cargo $(1)=$(HOME)/.rustup=/rustup $(1)=$(CURDIR)=/msb
dist_flags = RUSTFLAGS="$(call remap,--remap-path-prefix) -Clink-arg=-Wl,-z,pack-relative-relocs" CFLAGS="$(call remap,-ffile-prefix-map)"

.PHONY: dist-tree
dist-tree: dist-build
	@packaging/tree $(tree) $(BINARY) $(boot)/vmlinux $(boot)/initramfs.cpio

.PHONY: install
install: dist-tree ## Install below PREFIX (/usr/local), in DESTDIR if that is set
	@packaging/install $(tree) $(DESTDIR)$(PREFIX)

.PHONY: uninstall
uninstall: ## Remove what `make install` installed; MSB_HOME stays
	@packaging/uninstall $(DESTDIR)$(PREFIX)

.PHONY: dist
dist: dist-tree ## Make a tarball and a Debian package in target/packages
	@packaging/pack $(tree) $(packages)

.PHONY: package
package: guest examples build-tests ## Test installing and the packages, with the msb of the tests
	@.ci/packages python3 xz-utils
	@packaging/test $(abspath $(target))/checked/msb

.PHONY: clean
clean: ## Remove what was built here; the kernel's cache stays
	@cargo clean
	@rm -rf examples/*/image{,.key} examples/webstack/{client,proxy,app}{,.key}
