#!/usr/bin/env bash
# Breaks one thing at a time in a copy of the tree, and runs the tests that must notice it.
#
#   sabotage/run.sh              all of them
#   sabotage/run.sh NAME...      those whose name holds one of the words
#
# Each patch says in its first line what kills it. One that no longer applies, or that its tests do not notice, fails the
# run. A run takes minutes, so it is a command and not a part of test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/sabotage RUST_BACKTRACE=0
# What one patch changes is little: the rest is compiled once.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0

copy=$(mktemp -d)
trap 'git worktree remove --force "$copy/tree" 2>/dev/null; rm -rf "$copy"' EXIT
git worktree add --quiet --detach "$copy/tree" HEAD

wanted() {
  (($# > 1)) || return 0
  local name=$1 word
  shift
  for word; do [[ $name == *$word* ]] && return 0; done
  return 1
}

survivors=()
for patch in sabotage/*.patch; do
  name=$(basename "$patch" .patch)
  wanted "$name" "$@" || continue
  command=$(sed -n '1s/^Killed by: //p' "$patch")
  if ! git -C "$copy/tree" apply "$PWD/$patch"; then
    echo "DOES NOT APPLY  $name"
    survivors+=("$name")
    continue
  fi
  if (cd "$copy/tree" && $command >"$copy/log" 2>&1); then
    echo "SURVIVED        $name: $command"
    survivors+=("$name")
  elif grep -q "^test result: FAILED" "$copy/log"; then
    echo "killed          $name"
  else
    echo "DOES NOT BUILD  $name"
    tail -n 20 "$copy/log"
    survivors+=("$name")
  fi
  git -C "$copy/tree" checkout --quiet .
done
((${#survivors[@]} == 0))
