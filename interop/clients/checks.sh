# What the shell scripts of this folder have in common: checks that are counted. To be read by bash with name set to the client's.
# shellcheck shell=bash

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# check REQUIREMENT COMMAND... runs the command in a subshell: it holds if that succeeds.
check() {
	local requirement=$1
	shift
	( # not in a condition: there bash would switch -e off inside
		set -e
		"$@"
	) >"$scratch/out" 2>&1
	local rc=$?
	if ((rc == 0)); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL  $name: $requirement"
		cat "$scratch/out"
	fi
}

same() { [[ $1 == "$2" ]] || { echo "got '$1', want '$2'" && return 1; }; }

# score prints how many checks held, and succeeds if all did.
score() {
	echo "$name: $passed of $((passed + failed)) checks passed"
	((failed == 0))
}
