//go:build !linux

package listen

import "net"

// listenConfig is how sockets are opened to listen.
func listenConfig() net.ListenConfig { return net.ListenConfig{KeepAliveConfig: keepAlive()} }
