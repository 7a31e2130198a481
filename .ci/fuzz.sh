# What .ci/run and .ci/fuzz-all know of fuzz targets; they source it.

# fuzz_targets [NAME...] prints "package name" for every fuzz target, or for those that are named. go test lists names first and then their
# package.
fuzz_targets() {
  local names
  names=$(IFS='|'; echo "$*")
  go test -list '^Fuzz' ./... | awk -v only="^(${names:-.*})\$" '
    /^Fuzz/ { if ($1 ~ only) names[n++] = $1 }
    /^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }'
}

# fuzz_clock_ran_out LOG recognises a failure that is the toolchain's and not the target's: on a busy machine the end of -fuzztime may be
# reported as "context deadline exceeded", and then there is no input that fails.
fuzz_clock_ran_out() {
  grep -qxE '[[:space:]]*context deadline exceeded' "$1" && ! grep -qE 'Failing input|panic:|DATA RACE' "$1"
}
