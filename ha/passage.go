package ha

// passage is the way of an epoch from its claim to its promises, as a state
// machine without I/O: step names what is to be done, the caller does it and
// reports.
//
// Its safety is in the order. The active file is durable before our fence is
// read: whoever marks that later will find the file, and continue this epoch. A
// group is synced before our fence is read: whoever marks that later will find the
// group in the journal. A check that was begun before what it is to vouch for was
// durable counts for nothing.
type passage struct{ step passageStep }

type passageStep int

const (
	passActivate passageStep = iota // write the active file, synced: activated
	passCheck                       // read our fence, freshly: checked
	passServe                       // promises may be made: all that was synced has passed
	passDie                         // the end: another's turn
)

// activated takes that the active file is on stable storage.
func (p *passage) activated() { p.step = passCheck }

// synced takes that a group is on stable storage.
func (p *passage) synced() { p.step = passCheck }

// checked takes whether our fence was still unmarked, in a read begun after what
// was reported last.
func (p *passage) checked(unmarked bool) {
	p.step = passDie
	if unmarked {
		p.step = passServe
	}
}
