package msb

import "sync"

// broadcast wakes all goroutines that wait for a change. Its methods need the lock of what changes.
type broadcast struct {
	waiting chan struct{}
}

// wait returns a channel that the next wake closes.
func (b *broadcast) wait() <-chan struct{} {
	if b.waiting == nil {
		b.waiting = make(chan struct{})
	}
	return b.waiting
}

func (b *broadcast) wake() {
	if b.waiting != nil {
		close(b.waiting)
		b.waiting = nil
	}
}

// semaphore limits how many goroutines do something at the same time.
type semaphore chan struct{}

func (s semaphore) release() { <-s }

// onceError keeps the first error.
type onceError struct {
	mu  sync.Mutex
	err error
}

func (o *onceError) set(err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false
	}
	o.err = err
	return true
}

func (o *onceError) get() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
