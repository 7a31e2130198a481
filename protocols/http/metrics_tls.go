package admin

import (
	"crypto/x509"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/batonmq/baton/protocols/listen"
)

// tlsCollector renders what becomes of the TLS of this process, also on a
// standby: its certificates expire like a primary's.
type tlsCollector struct {
	tls *listen.TLS

	handshakes, failures       *prometheus.Desc
	expiry                     *prometheus.Desc
	nextUpdate, revoked        *prometheus.Desc
	reloads, reloadsFailed, at *prometheus.Desc
}

var _ prometheus.Collector = (*tlsCollector)(nil)

func newTLSCollector(t *listen.TLS) *tlsCollector {
	return &tlsCollector{
		tls:           t,
		handshakes:    prometheus.NewDesc("baton_tls_handshakes_total", "TLS handshakes that succeeded", []string{"listener"}, nil),
		failures:      prometheus.NewDesc("baton_tls_handshake_failures_total", "TLS handshakes that failed", []string{"listener", "reason"}, nil),
		expiry:        prometheus.NewDesc("baton_tls_certificate_expiry_timestamp_seconds", "When a certificate of this server, or an intermediate one that it sends, expires", []string{"subject", "serial"}, nil),
		nextUpdate:    prometheus.NewDesc("baton_tls_crl_next_update_timestamp_seconds", "When the next revocation list of an issuer is due", []string{"issuer"}, nil),
		revoked:       prometheus.NewDesc("baton_tls_crl_revoked_certificates", "Certificates that the revocation lists of an issuer name", []string{"issuer"}, nil),
		reloads:       prometheus.NewDesc("baton_tls_reloads_total", "Times that the TLS files were read again", nil, nil),
		reloadsFailed: prometheus.NewDesc("baton_tls_reload_failures_total", "Times that they could not be, and the old ones stayed in use", nil, nil),
		at:            prometheus.NewDesc("baton_tls_loaded_timestamp_seconds", "When the TLS files in use were read", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *tlsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.handshakes, c.failures, c.expiry, c.nextUpdate, c.revoked, c.reloads, c.reloadsFailed, c.at} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *tlsCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	s := c.tls.Stats()
	for _, h := range s.Handshakes {
		counter(c.handshakes, h.Succeeded, h.Listener)
		for why, n := range h.Failed {
			counter(c.failures, n, h.Listener, listen.HandshakeFailure(why).String())
		}
	}
	said := map[[2]string]bool{} // a certificate may be there twice
	for _, cert := range s.Certificates {
		labels := [2]string{name(cert), cert.SerialNumber.Text(16)}
		if !said[labels] {
			said[labels] = true
			gauge(c.expiry, float64(cert.NotAfter.Unix()), labels[:]...)
		}
	}
	for _, l := range s.Revocations {
		gauge(c.revoked, float64(l.Revoked), l.Issuer)
		if !l.Due.IsZero() {
			gauge(c.nextUpdate, float64(l.Due.Unix()), l.Issuer)
		}
	}
	counter(c.reloads, s.Reloads)
	counter(c.reloadsFailed, s.ReloadsFailed)
	gauge(c.at, float64(s.Loaded.Unix()))
}

// name is what a certificate is called by those who made it: many have no subject.
func name(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" || len(c.DNSNames) == 0 {
		return s
	}
	return c.DNSNames[0]
}
