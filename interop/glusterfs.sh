#!/bin/sh
# One GlusterFS volume on this machine, mounted twice: two "hosts" that share a
# directory through a network file system, each with caches of its own.
#
#	glusterfs.sh up DIR [BRICKS]         start it; the mounts are DIR/a and DIR/b
#	glusterfs.sh set DIR OPTION VALUE    set an option of the volume
#	glusterfs.sh down DIR                take everything down and remove DIR
#
# It must be root, for FUSE. DIR must be absolute, short (the name of a unix socket
# has 107 bytes at most) and not on tmpfs (bricks need trusted attributes). BRICKS is
# 1, or more for replicas. performance.quick-read is off, as Baton asks.
#
# GLUSTER_NETNS=NAME, of up, makes a network namespace of that name, through which
# alone mount a reaches the volume: taking its device NAME down cuts mount a off. All
# then listens on the other end of that wire.
#
# No service manager takes part: each process is started here and ended by its id.
# All of them listen on GLUSTER_ADDRESS alone, by default 127.0.0.2: glusterd takes
# 127.0.0.1 for a mistake. What they write lies below DIR, but for the bricks' logs
# and sockets, whose places are compiled in; down removes those, too. Every verb may
# be repeated, and down undoes also what an up that failed has left.
set -eu

address=${GLUSTER_ADDRESS:-127.0.0.2}
wired=198.18.255.253 # instead, with GLUSTER_NETNS
port=24007 # bricks ask for glusterd there, whatever it is told
volume=baton

die() {
	echo "glusterfs.sh: $*" >&2
	exit 1
}

# within N COMMAND... repeats the command every tenth of a second, N times at most.
within() {
	tries=$1
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.1
	done
}

cli() {
	timeout 60 gluster --mode=script --remote-host="$address" --glusterd-sock="$dir/run/glusterd.socket" --log-file="$dir/log/cli.log" volume "$@"
}

mounted() { grep -q " $1 fuse.glusterfs " /proc/mounts; }
bricks_run() { [ "$(cli status $volume detail | grep -c '^Online.*: Y')" = "$bricks" ]; }

# servers prints the ids of the processes that keep their files below DIR.
servers() {
	for proc in /proc/[0-9]*; do
		{ tr '\0' ' ' <"$proc/cmdline"; } 2>/dev/null | grep -q "^[^ ]*gluster[^ ]* .*$dir/" && echo "${proc#/proc/}"
	done
	return 0
}
none_serve() { [ -z "$(servers)" ]; }

# wire makes the namespace. Its addresses are those for tests between networks.
wire() {
	echo "$1" >"$dir/netns"
	ip netns list | grep -qw "$1" && return
	ip netns add "$1"
	ip link add "o$1" type veth peer name "$1" netns "$1"
	ip addr add "$wired/30" dev "o$1"
	ip link set "o$1" up
	ip -n "$1" addr add "${wired%.*}.254/30" dev "$1"
	ip -n "$1" link set lo up
	ip -n "$1" link set "$1" up
}

# from HOST COMMAND... runs the command where that host's mount is.
from() {
	host=$1
	shift
	if [ "$host" = a ] && [ -e "$dir/netns" ]; then
		nsenter --net="/run/netns/$(cat "$dir/netns")" -- "$@"
	else
		"$@"
	fi
}

start_glusterd() {
	mkdir -p "$dir/run" "$dir/log" "$dir/state"
	cat >"$dir/glusterd.vol" <<-END
		volume management
		    type mgmt/glusterd
		    option working-directory $dir/state
		    option run-directory $dir/run
		    option glusterd-sockfile $dir/run/glusterd.socket
		    option transport-type socket
		    option transport.address-family inet
		    option transport.socket.bind-address $address
		    option transport.socket.listen-port $port
		    option base-port 24101
		    option max-port 24200
		    option ping-timeout 0
		    option event-threads 1
		end-volume
	END
	cli list >/dev/null 2>&1 ||
		glusterd --volfile="$dir/glusterd.vol" --pid-file="$dir/run/glusterd.pid" --log-file="$dir/log/glusterd.log" ||
		die "glusterd does not start: see $dir/log/glusterd.log"
	within 100 cli list || die "glusterd does not answer: see $dir/log"
}

start_volume() {
	if ! cli info $volume >/dev/null 2>&1; then
		set --
		[ "$bricks" = 1 ] || set -- replica "$bricks"
		n=0
		while [ "$n" -lt "$bricks" ]; do
			n=$((n + 1))
			set -- "$@" "$address:$dir/brick$n"
		done
		cli create $volume "$@" force >/dev/null || die "the volume cannot be made: see $dir/log"
		cli set $volume performance.quick-read off >/dev/null
	fi
	cli info $volume | grep -q '^Status: Started' || cli start $volume >/dev/null || die "the volume does not start: see $dir/log"
	within 100 bricks_run || die "a brick does not run: see $dir/log"
}

up() {
	bricks=${1:-1}
	mkdir -p "$dir"
	[ -z "${GLUSTER_NETNS:-}" ] || wire "$GLUSTER_NETNS"
	[ ! -e "$dir/netns" ] || address=$wired
	start_glusterd
	start_volume
	for host in a b; do
		mkdir -p "$dir/$host"
		mounted "$dir/$host" || from "$host" glusterfs --volfile-server="$address" --volfile-server-port=$port --volfile-id=$volume \
			--pid-file="$dir/run/mount-$host.pid" --log-file="$dir/log/mount-$host.log" "$dir/$host"
		within 100 mounted "$dir/$host" || die "$dir/$host is not mounted: see $dir/log"
		within 100 stat "$dir/$host/." || die "$dir/$host does not answer: see $dir/log"
	done
}

down() {
	for host in a b; do
		if mounted "$dir/$host"; then
			umount "$dir/$host" 2>/dev/null || umount -l "$dir/$host"
		fi
	done
	for signal in TERM KILL; do
		for pid in $(servers); do
			kill -s $signal "$pid" 2>/dev/null || true # it may have ended meanwhile
		done
		within 50 none_serve && break
	done
	none_serve || die "these still run: $(servers)"
	mounted "$dir/a" || mounted "$dir/b" && die "$dir is still mounted"
	[ ! -e "$dir/netns" ] || ip netns del "$(cat "$dir/netns")"
	slug=$(echo "${dir#/}" | tr / -)
	rm -f /var/log/glusterfs/bricks/"$slug"-brick[0-9]*.log
	rm -rf "$dir"
}

[ $# -ge 2 ] || die "usage: glusterfs.sh up DIR [BRICKS] | set DIR OPTION VALUE | down DIR"
verb=$1 dir=${2%/}
shift 2
case $dir in
*[!A-Za-z0-9/._-]* | */..* | /) die "$dir has characters that this script does not quote" ;;
/*/*) ;;
*) die "$dir is not an absolute path below another directory" ;;
esac
[ ! -e "$dir/netns" ] || address=$wired
case $verb in
up | down) $verb "$@" ;;
set) cli set $volume "$1" "$2" ;;
*) die "what is $verb" ;;
esac
