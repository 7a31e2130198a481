#!/bin/bash
# The tools of librabbitmq (amqp-tools) against a broker: see checks.py for what the environment says.
set -uo pipefail

url=${AMQP_URL:-amqp://guest:guest@127.0.0.1:5672}
url=${url%/} # which would be the virtual host ""
name="librabbitmq's tools $(dpkg-query -W -f='${Version}' amqp-tools 2>/dev/null)"

. ./checks.sh

publish() { amqp-publish -u "$url" "$@"; }
get() { amqp-get -u "$url" "$@"; }
declare_queue() { amqp-declare-queue -u "$url" "$@"; }
delete_queue() { amqp-delete-queue -u "$url" "$@"; }
consume() { timeout 20 amqp-consume -u "$url" "$@"; }

# refused TEXT COMMAND... holds that the command fails and says so.
refused() {
	local text=$1 said
	shift
	if said=$("$@" 2>&1); then
		echo "it succeeded: $said"
		return 1
	fi
	[[ $said == *"$text"* ]] || { echo "it said '$said'" && return 1; }
}

queue=tools.queue

round_trip() {
	same "$(declare_queue -q "$queue" -d)" "$queue"
	publish -r "$queue" -b hello -p
	same "$(get -q "$queue")" hello
	refused "" get -q "$queue" # exit code 2: it is empty
}
check "a queue is declared, a message published and fetched" round_trip

named() { [[ $(declare_queue -q '') == amq.gen-* ]]; }
check "a queue is named by the broker" named

passive() { refused "no queue 'tools.none' in vhost '/'" get -q tools.none; }
check "what is not there is 404" passive

unequal() { refused "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '$queue'" declare_queue -q "$queue"; }
check "an unequal declaration is 406" unequal

wrong() { refused "ACCESS_REFUSED" amqp-get -u "${url/guest:guest/guest:wrong}" -q "$queue"; }
check "a wrong password is 403" wrong

nowhere() { refused "vhost" amqp-get -u "$url/nowhere" -q "$queue"; }
check "an unknown virtual host is refused" nowhere

properties() {
	publish -r "$queue" -b x -C text/plain -E utf-8 -t me -H 'a: 1' -H 'b: two'
	same "$(get -q "$queue")" x
}
check "properties and headers" properties

large() {
	head -c 3000000 /dev/urandom >"$scratch/body"
	publish -r "$queue" <"$scratch/body"
	get -q "$queue" >"$scratch/got"
	cmp "$scratch/body" "$scratch/got"
}
check "3 MB from standard input" large

lines() {
	seq 20 | publish -r "$queue" -l
	same "$(consume -q "$queue" -c 20 -p 5 cat | tr '\n' ' ')" "$(seq 20 | tr '\n' ' ')"
}
check "twenty lines as twenty messages, consumed in order with a prefetch of 5" lines

unacknowledged() {
	publish -r "$queue" -b again
	consume -q "$queue" -c 1 false || true # the command fails, and its message is not acknowledged
	same "$(get -q "$queue")" again
}
check "a message whose command fails goes back" unacknowledged

no_ack() {
	publish -r "$queue" -b once
	same "$(consume -q "$queue" -A -c 1 cat)" once
	refused "" get -q "$queue"
}
check "consumed without acknowledgements" no_ack

bound() {
	consume -e amq.topic -r 'tools.#' -c 1 cat >"$scratch/topic" &
	local consumer=$!
	for _ in {1..100}; do
		publish -e amq.topic -r tools.a.b -b "by topic" # until somebody is bound
		sleep 0.05
		if ! kill -0 $consumer 2>/dev/null; then break; fi
	done
	wait $consumer
	same "$(<"$scratch/topic")" "by topic"
}
check "a queue of its own, bound to a topic exchange" bound

deleted() {
	same "$(declare_queue -q tools.small -d)" tools.small
	publish -r tools.small -b small
	same "$(get -q tools.small)" small
	delete_queue -q tools.small >/dev/null
}
check "deletion" deleted

if [[ -n ${RESTART:-} ]]; then
	killed() {
		publish -r "$queue" -b kept -p
		get -q tools.none || true # a round trip after it
		"$RESTART"
		same "$(get -q "$queue")" kept
	}
	check "after kill -9 a persistent message is there" killed
fi

cleanup() { delete_queue -q "$queue" >/dev/null; }
check "the queue is deleted" cleanup

score
