#!/bin/bash
# The programs of docs/clients.md, as they stand there, while the primary of a pair is killed.
#
#	interop/clients/failover.sh [HEADING...]      the page's headings: pika MQTT.js "Paho for Python"; without any: all
#
# A program passes when it goes on to print what it gets after a kill -9, twice. One whose library is not installed is left out and
# named. BINARY=path takes a broker that was built before, PYTHON=path another Python; NODE_PATH has amqplib, mqtt, paho-mqtt and ws; Debian
# has python3-pika, python3-paho-mqtt, mosquitto and mosquitto-clients. Every process is ended by its id.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

scratch=$(mktemp -d)
python=${PYTHON:-/usr/bin/python3}
binary=${BINARY:-$scratch/baton}
[[ -n ${BINARY:-} ]] || go build -o "$binary" ./cmd/baton
base=$((10000 + RANDOM % 20000)) # the first of eight ports
declare -A node=()               # the process of each node
helpers=() failed=() left=()

end() {
	local pid
	exec 2>/dev/null # not a word of the shell about each
	for pid in "${node[@]}" "${helpers[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
	rm -rf "$scratch"
}
trap end EXIT

# serve NAME starts a node; its ports are those of the page, moved.
serve() {
	local at=$([[ $1 == a ]] && echo 0 || echo 1)
	BATON_ADMIN_SOCKET=off "$binary" serve --ha --node "$1" --data "$scratch/data" --amqp "127.0.0.1:$((base + at))" --mqtt "127.0.0.1:$((base + 2 + at))" \
		--ws "127.0.0.1:$((base + 4 + at))" --admin "127.0.0.1:$((base + 6 + at))" --metrics off >>"$scratch/$1.log" 2>&1 &
	node[$1]=$!
}

ready() { curl -fs "http://127.0.0.1:$((base + 6 + $([[ $1 == a ]] && echo 0 || echo 1)))/readyz" >/dev/null; }
eligible() { curl -s "http://127.0.0.1:$((base + 6 + $([[ $1 == a ]] && echo 0 || echo 1)))/readyz" | grep -q '"eligible":true.*"caught_up":true'; }

# within SECONDS COMMAND... repeats the command until it succeeds.
within() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}

pair_is_whole() { { ready a && eligible b; } || { ready b && eligible a; }; }
got() { (($(grep -c '^got' "$scratch/out") >= $1)); }

# fail_over kills the primary, and starts it again.
fail_over() {
	local primary=b
	if ready a; then primary=a; fi
	kill -KILL "${node[$primary]}"
	wait "${node[$primary]}" 2>/dev/null || true
	serve "$primary"
}

# program HEADING prints the first block of code below it, with the ports of this pair.
program() {
	awk -v heading="## $1" '$0 == heading { on = 1; next } on && /^```[a-z]/ { code = 1; next } code && /^```$/ { exit } code' docs/clients.md |
		sed "s/15675/$((base + 4))/g; s/15676/$((base + 5))/g; s/\b5672\b/$base/g; s/\b5673\b/$((base + 1))/g; s/\b1883\b/$((base + 2))/g; s/\b1884\b/$((base + 3))/g; s/localhost/127.0.0.1/g"
}

# begin HEADING runs the program in the background, if it can be run here.
begin() {
	case $1 in
	pika | "Paho for Python")
		"$python" -c 'import pika, paho.mqtt' 2>/dev/null || return 1
		program "$1" >"$scratch/p.py"
		"$python" "$scratch/p.py" >"$scratch/out" 2>&1 &
		;;
	amqplib | MQTT.js | "Paho for JavaScript")
		node -e 'require("amqplib"); require("mqtt"); require("paho-mqtt"); require("ws")' 2>/dev/null || return 1
		{
			[[ $1 != Paho* ]] || echo 'globalThis.WebSocket = require("ws"); const Paho = require("paho-mqtt")'
			program "$1"
		} >"$scratch/p.js"
		node "$scratch/p.js" >"$scratch/out" 2>&1 &
		;;
	amqp091-go | paho*golang)
		mkdir -p "$scratch/p"
		program "$1" >"$scratch/p/main.go"
		go build -o "$scratch/p/p" "$scratch/p/main.go"
		"$scratch/p/p" >"$scratch/out" 2>&1 &
		;;
	"Mosquitto's bridge")
		command -v mosquitto mosquitto_pub mosquitto_sub >/dev/null || return 1
		{
			echo "listener $((base + 8)) 127.0.0.1"
			echo 'allow_anonymous true'
			program "$1"
		} >"$scratch/mosquitto.conf"
		mosquitto -c "$scratch/mosquitto.conf" >"$scratch/mosquitto.log" 2>&1 &
		helpers+=($!)
		within 10 mosquitto_pub -p $((base + 8)) -t clients/there -n 2>/dev/null || true
		# Published to Mosquitto, and got from the pair: with a client of each node, of which one is let in.
		for at in 2 3; do
			while sleep 0.2; do mosquitto_sub -p $((base + at)) -u guest -P guest -t clients/mosquitto -F 'got %p' 2>/dev/null || true; done >>"$scratch/out" &
			helpers+=($!)
		done
		while sleep 0.1; do mosquitto_pub -p $((base + 8)) -t clients/mosquitto -m "$SECONDS" -q 1 2>/dev/null || true; done &
		;;
	*)
		return 1
		;;
	esac
	client=$!
}

try() {
	: >"$scratch/out"
	within 60 pair_is_whole
	if ! begin "$1"; then
		left+=("$1")
		return
	fi
	local ok=1 round seen
	within 60 got 10 || ok=
	for round in 1 2; do
		[[ -n $ok ]] || break
		within 60 pair_is_whole || ok=
		fail_over
		seen=$(grep -c '^got' "$scratch/out")
		within 60 got $((seen + 10)) || ok=
	done
	kill -KILL "$client" 2>/dev/null || true
	wait "$client" 2>/dev/null || true
	if [[ -n $ok ]]; then
		echo "ok      $1: $(grep -c '^got' "$scratch/out") messages, two kills"
	else
		echo "FAILED  $1"
		tail -n 20 "$scratch/out"
		failed+=("$1")
	fi
}

serve a
within 60 ready a
serve b
if (($# == 0)); then
	set -- amqp091-go pika amqplib paho.mqtt.golang paho.golang "Paho for Python" "Paho for JavaScript" MQTT.js "Mosquitto's bridge"
fi
for name in "$@"; do try "$name"; done
((${#left[@]} == 0)) || printf 'left out, not installed: %s\n' "${left[*]}"
((${#failed[@]} == 0))
