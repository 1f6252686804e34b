package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxErrors ends a run: what goes wrong so often will not mend itself.
	maxErrors = 100
	// afterError is the pause before the next request in place of a failed one.
	afterError = 10 * time.Millisecond
	// tickEvery is how often timeouts and the context are looked at.
	tickEvery = 100 * time.Millisecond
	readSize  = 256 << 10
)

var (
	errClosed  = errors.New("connection closed before the answer was complete")
	errTimeout = errors.New("no answer in time")
	errUnsent  = errors.New("not sent in time: no connection was free")
)

// loop is one run. All times in it are durations since base.
type loop struct {
	cfg    Config
	to     unix.Sockaddr
	family int
	base   time.Time
	epoll  int
	timer  int
	armed  time.Duration
	conns  []*conn
	idle   ring[*conn]
	// due are the times from which a closed loop may send its next requests, in rising order.
	due ring[time.Duration]
	// sent is how many requests were sent, scheduled how many of an open loop were taken from its schedule.
	sent, scheduled int
	inFlight        int
	// from and until are the bounds of what counts.
	from, until time.Duration
	counted     int
	last        time.Duration
	errors      int
	result      *Result
	buffer      []byte
}

// conn is one connection.
type conn struct {
	fd       int
	index    int32
	busy     bool
	counts   bool
	written  int
	intended time.Duration
	request  *Request
	parser   parser
}

// Run sends what cfg says. An error means that it could not; what went wrong with requests is in the result.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &loop{cfg: cfg, result: newResult(), buffer: make([]byte, readSize), epoll: -1, timer: -1}
	defer l.close()
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("load on %s: %w", cfg.Address, err)
	}
	if err := l.run(ctx); err != nil {
		return nil, fmt.Errorf("load on %s: %w", cfg.Address, err)
	}
	return l.result, nil
}

func (l *loop) open() (err error) {
	address, err := net.ResolveTCPAddr("tcp", l.cfg.Address)
	if err != nil {
		return err
	}
	if ip := address.IP.To4(); ip != nil || len(address.IP) == 0 {
		to := &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte{127, 0, 0, 1}}
		copy(to.Addr[:], ip)
		l.to, l.family = to, unix.AF_INET
	} else {
		to := &unix.SockaddrInet6{Port: address.Port}
		copy(to.Addr[:], address.IP)
		l.to, l.family = to, unix.AF_INET6
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for i := range l.cfg.Conns {
		c := &conn{fd: -1, index: int32(i)}
		l.conns = append(l.conns, c)
		if err := l.connect(c); err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		l.idle.push(c)
	}
	return nil
}

// connect opens c anew. It waits for the connection: the other side is near.
func (l *loop) connect(c *conn) error {
	l.disconnect(c)
	fd, err := unix.Socket(l.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = fd
	limit := unix.NsecToTimeval(l.cfg.Timeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Connect(fd, l.to)
	}
	if err != nil && err != unix.EISCONN {
		return fmt.Errorf("connect: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	// Edge-triggered for both directions, once and for all: no system call is spent on what is waited for.
	const events = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: c.index})
}

func (l *loop) disconnect(c *conn) {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

func (l *loop) close() {
	for _, c := range l.conns {
		l.disconnect(c)
	}
	for _, fd := range []int{l.timer, l.epoll} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (l *loop) now() time.Duration { return time.Since(l.base) }

func (l *loop) run(ctx context.Context) error {
	l.base = time.Now()
	l.from = l.cfg.Warmup
	l.until = l.from + l.cfg.Duration
	if l.cfg.Duration == 0 {
		l.until = time.Duration(1<<63 - 1)
	}
	if l.cfg.Rate == 0 {
		for range l.cfg.InFlight {
			l.due.push(0)
		}
	}
	var cpu time.Duration
	warm := false
	events := make([]unix.EpollEvent, 512)
	nextTick := tickEvery
	for {
		now := l.now()
		if !warm && now >= l.from {
			warm, cpu = true, threadTime()
		}
		if now >= nextTick {
			nextTick = now + tickEvery
			if err := ctx.Err(); err != nil {
				return err
			}
			l.expire(now)
		}
		l.send(now)
		if l.over(now) {
			break
		}
		n, err := l.wait(events, now)
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:n] {
			if e.Fd < 0 {
				l.armed = 0
				var expirations [8]byte
				// Only to be told of the next one; nobody needs their number.
				_, _ = unix.Read(l.timer, expirations[:])
				continue
			}
			if err := l.ready(l.conns[e.Fd], e.Events); err != nil {
				return err
			}
		}
		if l.errors >= maxErrors {
			break
		}
	}
	l.result.CPU = threadTime() - cpu
	l.result.Elapsed = l.cfg.Duration
	if l.cfg.Duration == 0 || l.finished() && l.cfg.Count > 0 {
		l.result.Elapsed = l.last - l.from
	}
	return nil
}

// finished tells whether as many requests were sent as Count says.
func (l *loop) finished() bool { return l.cfg.Count > 0 && l.counted >= l.cfg.Count }

// over tells whether nothing more is to be sent and nothing is waited for.
func (l *loop) over(now time.Duration) bool {
	if l.inFlight > 0 {
		return false
	}
	due, any := l.next()
	return l.finished() || !any || due >= l.until || l.cfg.Rate == 0 && now >= l.until
}

// next is when the next request is due. There is none while all that a closed loop may send is on its way.
func (l *loop) next() (due time.Duration, any bool) {
	if l.cfg.Rate > 0 {
		return time.Duration(float64(l.scheduled) / l.cfg.Rate * 1e9), true
	}
	return l.due.peek()
}

// send sends what is due.
func (l *loop) send(now time.Duration) {
	for l.inFlight < l.cfg.InFlight && l.idle.len() > 0 && !l.finished() {
		due, any := l.next()
		if !any || due > now || due >= l.until {
			return
		}
		intended := due
		if l.cfg.Rate > 0 {
			l.scheduled++
		} else {
			if now >= l.until {
				return
			}
			l.due.pop()
			intended = l.now()
		}
		c := l.idle.pop()
		c.request = &l.cfg.Requests[l.sent%len(l.cfg.Requests)]
		l.sent++
		c.busy, c.written, c.intended = true, 0, intended
		if c.counts = intended >= l.from; c.counts {
			l.counted++
		}
		c.parser.begin(c.request)
		l.inFlight++
		if err := l.write(c); err != nil {
			l.fail(c, err)
		}
	}
}

func (l *loop) write(c *conn) error {
	for c.written < len(c.request.Raw) {
		n, err := unix.Write(c.fd, c.request.Raw[c.written:])
		switch err {
		case nil:
			c.written += n
		case unix.EINTR:
		case unix.EAGAIN:
			return nil // EPOLLOUT tells
		default:
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// wait waits for events, or for the next request to be due.
func (l *loop) wait(events []unix.EpollEvent, now time.Duration) (int, error) {
	if due, any := l.next(); any && due < l.until && l.idle.len() > 0 && l.inFlight < l.cfg.InFlight && !l.finished() {
		if err := l.arm(due, now); err != nil {
			return 0, err
		}
	}
	n, err := unix.EpollWait(l.epoll, events, int(tickEvery.Milliseconds()))
	if err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

func (l *loop) arm(due, now time.Duration) error {
	if l.armed == due {
		return nil
	}
	l.armed = due
	in := unix.NsecToTimespec(max(int64(due-now), 1))
	return unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Value: in}, nil)
}

// ready goes on with a connection of which something is known to have changed.
func (l *loop) ready(c *conn, events uint32) error {
	if !c.busy {
		if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
			return nil
		}
		return l.connect(c) // the other side has closed what nobody used; c stays in idle
	}
	if err := l.write(c); err != nil {
		l.fail(c, err)
		return nil
	}
	for {
		n, err := unix.Read(c.fd, l.buffer)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			l.fail(c, fmt.Errorf("read: %w", err))
			return nil
		case n == 0 && c.parser.end():
			return l.complete(c)
		case n == 0:
			l.fail(c, errClosed)
			return nil
		}
		done, err := c.parser.feed(l.buffer[:n])
		switch {
		case err != nil:
			l.fail(c, err)
			return nil
		case done && c.written < len(c.request.Raw):
			// An early answer. What was not sent of the request must not be taken for the next.
			c.parser.closes = true
			return l.complete(c)
		case done:
			return l.complete(c)
		case n < len(l.buffer) && events&unix.EPOLLRDHUP == 0:
			return nil // all there was
		}
	}
}

func (l *loop) complete(c *conn) error {
	now := l.now()
	l.result.Answered++
	if c.counts {
		l.result.record(now-c.intended, c.parser.seen)
		if now <= l.until {
			l.result.InTime++
		}
		l.last = now
	}
	l.release(c, now+l.cfg.Think)
	if c.parser.closes {
		return l.connect(c)
	}
	return nil
}

// fail counts an error and gives the request's place to another.
func (l *loop) fail(c *conn, err error) {
	l.count(err, 1)
	l.disconnect(c)
	l.release(c, l.now()+afterError)
	if err := l.connect(c); err != nil {
		l.count(err, maxErrors)
	}
}

func (l *loop) count(err error, times int) {
	l.errors += times
	l.result.Errors[err.Error()]++
}

func (l *loop) release(c *conn, next time.Duration) {
	c.busy = false
	l.inFlight--
	l.idle.push(c)
	if l.cfg.Rate == 0 {
		l.due.push(next)
	}
}

// expire fails what takes too long.
func (l *loop) expire(now time.Duration) {
	for _, c := range l.conns {
		if c.busy && now-c.intended > l.cfg.Timeout {
			l.fail(c, errTimeout)
		}
	}
	if due, any := l.next(); l.cfg.Rate > 0 && any && due < l.until && now-due > l.cfg.Timeout {
		l.count(errUnsent, maxErrors)
	}
}

// threadTime is the processor time that the calling thread has used.
func threadTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		panic("load: getrusage of this thread: " + err.Error()) // the kernel knows no reason to refuse
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
