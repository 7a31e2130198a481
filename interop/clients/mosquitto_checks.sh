#!/bin/bash
# Mosquitto's own clients (mosquitto_pub, mosquitto_sub, mosquitto_rr) against a broker. MQTT_URL is mqtt://user:password@host:port, MQTTS_URL
# the same over TLS with the certificate in MQTT_CA; RESTART as in checks.py.
set -uo pipefail

url=${MQTT_URL:-mqtt://guest:guest@127.0.0.1:1883}
name="mosquitto's clients $(dpkg-query -W -f='${Version}' mosquitto-clients 2>/dev/null)"
prefix=clients/mosquitto

. ./checks.sh

publish() { mosquitto_pub -L "$url/$1" "${@:2}"; }
receive() { timeout 20 stdbuf -oL mosquitto_sub -L "$url/$1" "${@:2}"; }

# listening FILE FILTER OPTIONS... starts a subscriber that writes to the file, and returns when it is subscribed. Its process is $subscriber.
listening() {
	local file=$1
	: >"$file.all" # what an earlier one wrote there is not this one's
	timeout 20 stdbuf -oL mosquitto_sub -L "$url/$2" -d "${@:3}" >"$file.all" 2>&1 &
	subscriber=$!
	for _ in {1..500}; do
		if grep -q '^Subscribed' "$file.all"; then return; fi
		sleep 0.02
	done
	cat "$file.all"
	return 1
}

# heard FILE waits for the subscriber and sets said to what it was sent, without what the option -d says besides.
heard() {
	wait "$subscriber" || true
	said=$(grep -vE '^(Client |Subscribed|  )' "$1.all") || cat "$1.all"
}

# each VERSION QOS: a message comes as it was published.
each() {
	listening "$scratch/each" "$prefix/each" -V "$1" -q "$2" -C 1 -F '%t %q %p'
	publish "$prefix/each" -V "$1" -q "$2" -m "hello $1"
	heard "$scratch/each"
	same "$said" "$prefix/each $2 hello $1"
}
for version in 31 311 5; do
	for qos in 0 1 2; do
		check "version $version, QoS $qos" each "$version" "$qos"
	done
done

retained() {
	publish "$prefix/retained" -r -q 1 -m kept
	same "$(receive "$prefix/retained" -C 1 -F '%r %p')" "1 kept"
	same "$(receive "$prefix/+" --retained-only -C 1)" kept
	publish "$prefix/retained" -r -n -q 1
	same "$(receive "$prefix/retained" -C 1 -W 1 || true)" ""
}
check "a retained message comes to who subscribes, by wildcard too, until it is removed" retained

removed() {
	for i in 1 2 3; do publish "$prefix/sweep/$i" -r -q 1 -m x; done
	timeout 20 mosquitto_sub -L "$url/$prefix/sweep/#" --remove-retained --retained-only -W 1 || true
	same "$(receive "$prefix/sweep/#" -C 1 -W 1 || true)" ""
}
check "mosquitto_sub --remove-retained removes" removed

will() {
	listening "$scratch/will" "$prefix/will" -q 1 -C 1
	stdbuf -oL mosquitto_sub -L "$url/$prefix/nothing" --will-topic "$prefix/will" --will-payload gone --will-qos 1 -d >"$scratch/dies" 2>&1 &
	local dies=$!
	for _ in {1..500}; do
		if grep -q '^Subscribed' "$scratch/dies"; then break; fi
		sleep 0.02
	done
	kill -KILL $dies
	heard "$scratch/will"
	same "$said" gone
}
check "the will of a client that is killed" will

session() {
	receive "$prefix/session" -i mosquitto-session -c -q 1 -E
	for i in 1 2 3; do publish "$prefix/session" -q 1 -m "$i"; done
	same "$(receive "$prefix/session" -i mosquitto-session -c -q 1 -C 3 | tr '\n' ' ')" "1 2 3 "
	receive "$prefix/session" -i mosquitto-session -E # clean: it ends
}
check "a session keeps what comes while its client is away, in order" session

expiry() {
	receive "$prefix/expiry" -V 5 -i mosquitto-expiry -x 60 -c -q 1 -E
	publish "$prefix/expiry" -V 5 -q 1 -m short -D publish message-expiry-interval 1
	publish "$prefix/expiry" -V 5 -q 1 -m long -D publish message-expiry-interval 100
	sleep 1.5
	same "$(receive "$prefix/expiry" -V 5 -i mosquitto-expiry -x 60 -c -q 1 -C 1)" long
	receive "$prefix/expiry" -V 5 -i mosquitto-expiry -x 0 -E
}
check "a session with an expiry; a message whose expiry has passed does not come" expiry

properties() {
	listening "$scratch/properties" "$prefix/properties" -V 5 -C 1 -F '%C %D %F %R %P %p'
	publish "$prefix/properties" -V 5 -m body -D publish content-type text/plain -D publish correlation-data c1 \
		-D publish payload-format-indicator 1 -D publish response-topic a/b -D publish user-property first 1 -D publish user-property second 2
	heard "$scratch/properties"
	same "$said" "text/plain c1 1 a/b first:1 second:2 body"
}
check "properties of MQTT 5 come unaltered, user properties in their order" properties

rr() {
	local answerer
	receive "$prefix/ask" -V 5 -C 1 -F '%R %p' >"$scratch/asked" &
	answerer=$!
	(
		wait_for=500
		while ((wait_for-- > 0)) && [[ ! -s $scratch/asked ]]; do sleep 0.02; done
		read -r topic body <"$scratch/asked"
		publish "$topic" -V 5 -m "answer to $body"
	) &
	sleep 0.5
	same "$(timeout 10 mosquitto_rr -L "$url/$prefix/ask" -V 5 -e "$prefix/answer" -m question)" "answer to question"
	wait $answerer
}
check "mosquitto_rr asks and is answered" rr

shared() {
	local first second
	listening "$scratch/one" "\$share/workers/$prefix/shared" -V 5 -q 1 -W 3
	first=$subscriber
	listening "$scratch/two" "\$share/workers/$prefix/shared" -V 5 -q 1 -W 3
	second=$subscriber
	for i in {1..20}; do echo "job $i"; done | mosquitto_pub -L "$url/$prefix/shared" -V 5 -q 1 -l
	wait "$first" "$second" || true
	same "$(cat "$scratch/one.all" "$scratch/two.all" | grep -c '^job')" 20
	grep -q '^job' "$scratch/one.all" && grep -q '^job' "$scratch/two.all"
}
check "two share a subscription: each message comes to one, and both get some" shared

large() {
	head -c 3000000 /dev/urandom >"$scratch/body"
	listening "$scratch/large" "$prefix/large" -q 1 -C 1 -F '%l'
	publish "$prefix/large" -q 1 -f "$scratch/body"
	heard "$scratch/large"
	same "$said" 3000000
}
check "3 MB from a file" large

lines() {
	listening "$scratch/lines" "$prefix/lines" -q 2 -C 100
	seq 100 | publish "$prefix/lines" -q 2 -l
	heard "$scratch/lines"
	same "$(tr '\n' ' ' <<<"$said")" "$(seq 100 | tr '\n' ' ')"
}
check "a hundred lines of QoS 2 in their order" lines

wrong() {
	local said version
	for version in 31 311 5; do
		said=$(mosquitto_pub -V $version -L "${url/:guest@/:wrong@}/$prefix/wrong" -m x 2>&1) && return 1
		[[ ${said,,} == *"user name or password"* ]] || { echo "it said '$said'" && return 1; }
	done
}
check "a wrong password is refused, and the client says so" wrong

if [[ -n ${MQTTS_URL:-} ]]; then
	tls() {
		url=$MQTTS_URL
		mosquitto_pub -L "$url/$prefix/tls" --cafile "$MQTT_CA" -r -q 1 -m secret
		same "$(timeout 20 mosquitto_sub -L "$url/$prefix/tls" --cafile "$MQTT_CA" -C 1)" secret
		mosquitto_pub -L "$url/$prefix/tls" --cafile "$MQTT_CA" -r -n -q 1
	}
	check "over TLS" tls
	stranger() { ! mosquitto_pub -L "$MQTTS_URL/$prefix/tls" --capath "$scratch" -m x; }
	check "over TLS, a broker that nobody vouches for is not trusted" stranger
fi

if [[ -n ${RESTART:-} ]]; then
	killed() {
		receive "$prefix/killed" -V 5 -i mosquitto-killed -x 600 -c -q 2 -E
		publish "$prefix/killed" -q 2 -m two
		publish "$prefix/killed" -q 1 -m one
		publish "$prefix/stays" -q 1 -m kept -r
		"$RESTART"
		# The client shows what comes with QoS 2 when it has been released.
		same "$(receive "$prefix/killed" -V 5 -i mosquitto-killed -x 600 -c -q 2 -C 2 -F '%p %q' | sort | tr '\n' ' ')" "one 1 two 2 "
		same "$(receive "$prefix/stays" -C 1)" kept
		publish "$prefix/stays" -r -n -q 1
		receive "$prefix/killed" -V 5 -i mosquitto-killed -x 0 -E
	}
	check "after kill -9 the session, its messages and what was retained are there" killed
fi

score
