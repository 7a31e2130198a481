package ha

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// Position is a place in an epoch's journal.
type Position struct {
	Epoch  uint64 `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// Role is what a node last said it does.
type Role string

// The roles of a node.
const (
	RoleStandby Role = "standby"
	RolePrimary Role = "primary" // it has claimed an epoch, and may not have activated it yet
	RoleLeft    Role = "left"    // it has ended in order
)

// Takeover is how an epoch came to be, and how long each part took.
type Takeover struct {
	Why      string        `json:"why"`         // why the holder before was taken to be gone
	Stop     time.Duration `json:"stop_ns"`     // last preflight, and follow's return
	Claim    time.Duration `json:"claim_ns"`    // survey and claim
	Mark     time.Duration `json:"mark_ns"`     // fences marked, source chosen
	Open     time.Duration `json:"open_ns"`     // active, up to its call of Activate: seal, adopt, open
	Activate time.Duration `json:"activate_ns"` // active file written, fence read
}

// Total is the time from the look that showed the holder gone to a primary that
// may promise.
func (t *Takeover) Total() time.Duration { return t.Stop + t.Claim + t.Mark + t.Open + t.Activate }

// presence is what a node with Standby tells the others, in ha/standby/NODE. It
// decides nothing but the order in which standbys move.
//
//	32        36
//	| n uint32 | n bytes of JSON | zero ...
type presence struct {
	Node     string   `json:"node"`
	Nonce    string   `json:"nonce"` // of the process
	PID      uint32   `json:"pid"`
	Counter  uint64   `json:"counter"` // grows while the process lives
	TTL      int64    `json:"ttl_ns"`
	Role     Role     `json:"role"`
	Epoch    uint64   `json:"epoch,omitempty"` // claimed by it, for a primary
	Position Position `json:"position"`        // reached by follow
	CaughtUp bool     `json:"caught_up"`

	BehindBytes uint64        `json:"behind_bytes,omitempty"`
	Behind      time.Duration `json:"behind_ns,omitempty"`

	Reason     string    `json:"reason,omitempty"` // why it cannot take over; empty: it can
	ConfigHash string    `json:"config_hash,omitempty"`
	Advertise  []string  `json:"advertise,omitempty"`
	Takeover   *Takeover `json:"takeover,omitempty"` // of Epoch
}

// maxReason keeps a long reason from pushing the rest out of the page.
const maxReason = 600

const presenceJSON = headerSize + 4

func encodePresence(id storeID, p *presence) ([]byte, error) {
	if len(p.Reason) > maxReason {
		short := *p
		short.Reason = p.Reason[:maxReason] + "..."
		p = &short
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the presence of node %q: %w", p.Node, err)
	}
	if len(b) > pageSize-presenceJSON-crcSize {
		return nil, fmt.Errorf("node name, configuration hash and advertised addresses take %d bytes and do not fit a page", len(b))
	}
	page := alignedPages(1)
	begin(page, magicNode, id, p.Epoch)
	binary.LittleEndian.PutUint32(page[headerSize:], uint32(len(b)))
	copy(page[presenceJSON:], b)
	finish(page)
	return page, nil
}

// decodePresence returns nil for a page that holds none: it is being made, or
// torn, and tells nothing.
func decodePresence(page []byte, id storeID) (*presence, error) {
	s, err := examine(page, magicNode, id)
	if err != nil || s != sound {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(page[headerSize:])
	if n > pageSize-presenceJSON-crcSize {
		return nil, nil
	}
	p := new(presence)
	if err := json.Unmarshal(page[presenceJSON:presenceJSON+n], p); err != nil {
		return nil, fmt.Errorf("%w: a sound page holds %w", ErrDamage, err)
	}
	return p, nil
}

// encodeAsk makes the page by which somebody asks the holder of epoch to hand
// over. Any sound page asks.
func encodeAsk(id storeID, epoch uint64) []byte {
	p := alignedPages(1)
	begin(p, magicAsk, id, epoch)
	finish(p)
	return p
}

func asked(p []byte, id storeID, epoch uint64) bool {
	s, err := examine(p, magicAsk, id)
	return err == nil && s == sound && recordEpoch(p) == epoch
}
