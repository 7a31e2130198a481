package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// systemRuntimeDir is where a broker has its socket that the system starts: as
// root, or as a user for whom the directory was made.
const systemRuntimeDir = "/run/baton"

const (
	socketSuffix = ".sock"

	// socketNode is how many bytes of a node's name are in the name of its socket:
	// the path of a socket may not be long.
	socketNode = 24

	// socketHash is how many digits tell those apart that look the same otherwise.
	socketHash = 8
)

// socketProbe is how long a socket may take to be answered at.
const socketProbe = time.Second

// runtimeDirs are the local directories where a broker of this user may have its
// admin socket, the most likely first.
func runtimeDirs(env []string) []string {
	uid := os.Getuid()
	var dirs []string
	if runtime.GOOS != "windows" && (uid == 0 || ownsDir(systemRuntimeDir)) {
		dirs = append(dirs, systemRuntimeDir)
	}
	if xdg := lookupEnv(env, "XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) {
		dirs = append(dirs, filepath.Join(xdg, "baton"))
	}
	temp := "baton"
	if uid >= 0 {
		temp += "-" + strconv.Itoa(uid)
	}
	return append(dirs, filepath.Join(os.TempDir(), temp))
}

// ownsDir reports that a directory is there that only this user, or root, can put
// a socket into.
func ownsDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && onlyOwnerWrites(info)
}

// adminSocket is where the broker called node with that data directory has its
// socket by default. Several brokers of a machine may have the same of either.
func adminSocket(node, data string, env []string) string {
	if abs, err := filepath.Abs(data); err == nil {
		data = abs
	}
	if resolved, err := filepath.EvalSymlinks(data); err == nil {
		data = resolved
	}
	sum := sha256.Sum256([]byte(node + "\x00" + data))
	return filepath.Join(runtimeDirs(env)[0], fmt.Sprintf("%s-%x%s", socketName(node), sum[:socketHash/2], socketSuffix))
}

// socketName is what the name of a node's sockets begins with.
func socketName(node string) string { return node[:min(len(node), socketNode)] }

// nodeOf is the reverse of it; false: the file is no broker's socket.
func nodeOf(file string) (string, bool) {
	base, isSocket := strings.CutSuffix(file, socketSuffix)
	at := len(base) - socketHash - 1
	if !isSocket || at < 1 || base[at] != '-' {
		return "", false
	}
	return base[:at], true
}

// findAdminSocket returns the socket of a broker on this machine that answers: by
// its data directory and its name, that of the host where none is given; else the
// only one of the name, or the only one that there is.
func findAdminSocket(ctx context.Context, node, data string, env []string) (string, error) {
	if node == "" {
		node = lookupEnv(env, envPrefix+"NODE")
	}
	if data == "" {
		data = lookupEnv(env, envPrefix+"DATA")
	}
	if data != "" {
		if node == "" {
			host, err := os.Hostname()
			if err != nil {
				return "", fmt.Errorf("find out this machine's name, to find its broker: %w (name it with --node)", err)
			}
			node = host
		}
		return adminSocket(node, data, env), nil
	}
	found := answeringSockets(ctx, node, runtimeDirs(env))
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", &exitError{exitUsage, fmt.Errorf("several brokers answer on this machine: choose one with --node, --data or --admin-socket (%s)",
			strings.Join(found, ", "))}
	case node != "":
		return "", fmt.Errorf("no broker called %q answers on this machine for this user: it does not run, or has another socket (--admin-socket)", node)
	}
	return "", errors.New("no broker answers on this machine for this user: it does not run, runs as another user, or has another socket (--admin-socket)")
}

// answeringSockets returns those of a node, or of all if node is empty, that
// somebody answers on. A directory that others can write to is passed over:
// whoever put a socket there, it was not this user's broker.
func answeringSockets(ctx context.Context, node string, dirs []string) (found []string) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil || !ownsDir(dir) {
			continue // mostly it is not there
		}
		for _, e := range entries {
			of, ok := nodeOf(e.Name())
			if !ok || node != "" && of != socketName(node) {
				continue
			}
			if path := filepath.Join(dir, e.Name()); answers(ctx, path) {
				found = append(found, path)
			}
		}
	}
	return found
}

// answers reports that the socket is not one that a broker left which was killed.
func answers(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, socketProbe)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was opened to see who is there
	return true
}
