#!/bin/bash
# Real clients against the real broker, and how many of their checks pass.
#
#	interop/clients/run.sh [CLIENT...]      pika kombu celery amqplib librabbitmq bunny, mosquitto mqttjs paho; without any: all that are installed
#
# It builds the broker, starts it on loopback in a directory of its own, lets one client after the other loose on it, kills
# and restarts it where a check asks for that, and ends it by its id. BINARY=path takes a broker that was built before,
# PYTHON=path another Python. AMQP_URL=amqp://... has the checks look at a broker that runs already, RabbitMQ say; it is not
# killed, then, and BROKER=rabbitmq leaves out what RabbitMQ has no word for; MQTT_URL=mqtt://... is the same for clients of MQTT.
#
# The clients are not the project's: Debian has python3-pika, python3-kombu, python3-celery, amqp-tools, ruby-bunny, mosquitto-clients and
# python3-paho-mqtt; amqplib and mqtt (MQTT.js) are npm's, installed into NODE_PATH. docs/compatibility.md has the scores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scratch=$(mktemp -d)
export SCRATCH=$scratch
python=${PYTHON:-/usr/bin/python3}
failed=()

end_broker() {
	if [[ -s $scratch/pid ]]; then kill -KILL "$(<"$scratch/pid")" 2>/dev/null || true; fi
}
trap 'end_broker; rm -rf "$scratch"' EXIT

if [[ -z ${AMQP_URL:-}${MQTT_URL:-} ]]; then
	binary=${BINARY:-$scratch/baton}
	[[ -n ${BINARY:-} ]] || go build -o "$binary" ../../cmd/baton
	port=$((10000 + RANDOM % 20000)) # the first of five
	"$binary" tls self-signed --out "$scratch/tls" >/dev/null
	# A program of its own, so that clients in any language can have the broker killed.
	cat >"$scratch/restart" <<-END
		#!/bin/bash
		set -eu
		if [[ -s $scratch/pid ]]; then
			kill -KILL "\$(<$scratch/pid)"
			while kill -0 "\$(<$scratch/pid)" 2>/dev/null; do sleep 0.02; done
		fi
		: >$scratch/log
		export BATON_TLS_CERT_FILE=$scratch/tls/server.crt BATON_TLS_KEY_FILE=$scratch/tls/server.key
		"$binary" serve --data $scratch/data --amqp 127.0.0.1:$port --mqtt 127.0.0.1:$((port + 1)) --ws 127.0.0.1:$((port + 2)) \\
			--mqtts 127.0.0.1:$((port + 3)) --wss 127.0.0.1:$((port + 4)) --admin off --metrics off \\
			--admin-socket $scratch/admin.sock </dev/null >>$scratch/log 2>&1 &
		echo \$! >$scratch/pid
		for _ in {1..1000}; do
			if grep -q 'Server startup complete' $scratch/log; then exit 0; fi
			kill -0 "\$(<$scratch/pid)" || break
			sleep 0.02
		done
		cat $scratch/log
		exit 1
	END
	chmod +x "$scratch/restart"
	ln -s "$binary" "$scratch/rabbitmqctl"
	export RESTART=$scratch/restart RABBITMQCTL=$scratch/rabbitmqctl BATON_ADMIN_SOCKET=$scratch/admin.sock
	export AMQP_URL=amqp://guest:guest@127.0.0.1:$port/ MQTT_URL=mqtt://guest:guest@127.0.0.1:$((port + 1))
	export WS_URL=ws://127.0.0.1:$((port + 2))/ws MQTTS_URL=mqtts://guest:guest@localhost:$((port + 3)) WSS_URL=wss://localhost:$((port + 4))/ws
	export MQTT_CA=$scratch/tls/ca.crt
	"$RESTART"
fi

# installed CLIENT says whether it is there.
installed() {
	case $1 in
	pika | kombu | celery) "$python" -c "import $1" 2>/dev/null ;;
	amqplib) node -e 'require("amqplib")' 2>/dev/null ;;
	librabbitmq) command -v amqp-publish >/dev/null ;;
	bunny) ruby -e 'require "bunny"' 2>/dev/null ;;
	mosquitto) command -v mosquitto_rr >/dev/null ;;
	mqttjs) node -e 'require("mqtt")' 2>/dev/null ;;
	paho) "$python" -c 'import paho.mqtt.client' 2>/dev/null ;;
	*)
		echo "there are no checks of $1" >&2
		exit 2
		;;
	esac
}

checks() {
	case $1 in
	pika | kombu | celery) timeout 300 "$python" -B "$1_checks.py" ${CHECKS:+"$CHECKS"} ;;
	amqplib) timeout 300 node amqplib_checks.js ;;
	librabbitmq) timeout 300 bash librabbitmq_checks.sh ;;
	bunny) timeout 300 ruby bunny_checks.rb ;;
	mosquitto) timeout 300 bash mosquitto_checks.sh ;;
	mqttjs) timeout 300 node mqttjs_checks.js ;;
	paho) timeout 300 "$python" -B paho_checks.py ${CHECKS:+"$CHECKS"} ;;
	esac
}

for client in "${@:-all}"; do
	clients=("$client")
	[[ $client != all ]] || clients=(pika kombu celery amqplib librabbitmq bunny mosquitto mqttjs paho)
	for c in "${clients[@]}"; do
		if installed "$c"; then
			checks "$c" || failed+=("$c")
		else
			echo "$c: not installed"
		fi
	done
done
((${#failed[@]} == 0))
