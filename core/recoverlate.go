package core

import "sync"

// keptBack is definitions that need others, in the order in which they came: blocks of them, because a list of hundreds of thousands that
// grows is copied several times.
type keptBack struct{ blocks [][]Definition }

const keptBackBlock = 1024

func (k *keptBack) add(d *Definition) {
	last := len(k.blocks) - 1
	if last < 0 || len(k.blocks[last]) == keptBackBlock {
		k.blocks = append(k.blocks, make([]Definition, 0, keptBackBlock))
		last++
	}
	k.blocks[last] = append(k.blocks[last], *d)
}

// all yields each definition once, and lets go of those that were yielded.
func (k *keptBack) all(yield func(*Definition) bool) {
	for i, block := range k.blocks {
		for j := range block {
			if !yield(&block[j]) {
				return
			}
		}
		k.blocks[i] = nil
	}
}

// edges puts bindings into the tables of their exchanges, in place, while the recovery reads the next ones. Until close has returned
// the tables are its own.
type edges struct {
	next   []*binding
	full   chan []*binding
	adding sync.WaitGroup
}

const edgeBatch = 512

func newEdges() *edges {
	e := &edges{full: make(chan []*binding, 8)}
	e.adding.Go(func() {
		for list := range e.full {
			for _, b := range list {
				table := b.source.table.Load()
				*table = (*table).adding(b)
			}
		}
	})
	return e
}

func (e *edges) add(b *binding) {
	if e.next == nil {
		e.next = make([]*binding, 0, edgeBatch)
	}
	if e.next = append(e.next, b); len(e.next) == edgeBatch {
		e.full <- e.next
		e.next = nil
	}
}

// close waits until all are in their tables.
func (e *edges) close() {
	e.full <- e.next
	close(e.full)
	e.adding.Wait()
}
