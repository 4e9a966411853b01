# Shortcuts; everything here is one cargo command away. `just --list` names them.

# Format, lint and test: what a change must pass
check: lint test

# Formatting and clippy, warnings as errors
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests; those whose server is missing say so and are skipped
test *arguments:
    cargo test --workspace {{arguments}}

# The tour: three services under load, then the full report
demo:
    cargo run --release -- demo

# The examples that need redis, nginx and PostgreSQL
examples:
    cargo run --release -- run --stop examples

# Benchmarks
bench *arguments:
    cargo bench --workspace --bench '*' -- {{arguments}}

# Licences, advisories and sources (needs cargo-deny)
deny:
    cargo deny check

# What CI runs; installs Debian packages, so as root in a container
ci:
    bash .ci/run

# Lines of code that ship: without tests, comments and blank lines, by crate
lines:
    #!/usr/bin/env bash
    git ls-files 'crates/*/src/*.rs' | grep -v -e '/tests/' -e '/tests\.rs$' | while read -r file; do
        awk -v crate="$(cut -d/ -f2 <<<"$file")" '
            /^#\[cfg\(test\)\]/ { exit }
            !/^[[:space:]]*(\/\/.*)?$/ { lines++ }
            END { print crate, lines + 0 }' "$file"
    done | awk '{ of[$1] += $2; all += $2 } END { for (crate in of) print of[crate], crate; print all, "in all" }' | sort -n
