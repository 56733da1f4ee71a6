/* Traffic between two network namespaces, as lean as sockets allow, so that what is between them shows.
 *
 *   traffic MODE CLIENT_NS SERVER_NS ADDRESS PORT MILLISECONDS CPU
 *
 * Both ends are processes of this program, on one processor: the parent is the client, its child the server. What is
 * between them, the kernel does in their time. The namespaces are paths. One line is printed: operations, seconds that
 * passed, seconds of processor time, and what was sent.
 *
 *   stream   TCP, one connection, socket buffers of a fixed size; operations are bytes that arrived
 *   rr       TCP, one connection; a byte there and a byte back
 *   crr      TCP; connect, a byte there and a byte back, close; to one port, again and again
 *   first    the same, but every connection goes to a port of its own: nothing remembered of one helps the next
 *   udp      datagrams of 64 bytes, in batches, on a flow the server has answered once; operations are those that arrived
 *   oneway   the same, never answered: to connection tracking every datagram is the first one
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 128 << 10, BATCH = 64, DATAGRAM = 64, WARM_MS = 4, PATIENCE = 5, LOOK = 16, PORTS = 1600 };

static const double LOST = 1e-3; /* seconds after which what has not come will not */
static struct sockaddr_storage to;
static socklen_t to_length;
static volatile struct {
	uint64_t arrived; /* bytes or datagrams */
	int ready; /* the server runs */
} *shared;
static char block[BLOCK];
static int buffer; /* of a socket, in bytes; 0: as the kernel likes. One that grows makes each stream another thing */
static int listeners[PORTS], ports = 1, used; /* ports there are, and connections made */

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static long checked(long result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

static double at(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void enter(const char *namespace)
{
	int fd = checked(open(namespace, O_RDONLY | O_CLOEXEC), namespace);

	checked(setns(fd, CLONE_NEWNET), "setns");
	close(fd);
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set); /* where there is no such processor: anywhere */
}

static void give_up(int signal)
{
	static const char words[] = "no answer\n";

	(void)!write(STDERR_FILENO, words, sizeof(words) - 1);
	_exit(signal);
}

static int opened(int type)
{
	int fd = checked(socket(to.ss_family, type | SOCK_CLOEXEC, 0), "socket");

	if (buffer) { /* an ordinary user has what there is */
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer));
	}
	return fd;
}

static void towards(int port)
{
	if (to.ss_family == AF_INET)
		((struct sockaddr_in *)&to)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)&to)->sin6_port = htons(port);
}

static int connected(void)
{
	int one = 1, fd = opened(SOCK_STREAM);

	if (buffer) /* a stream: it shall not wait for the answer to its last short segment */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	checked(connect(fd, (struct sockaddr *)&to, to_length), "connect");
	return fd;
}

/* -- servers: they end by a signal ------------------------------------------------------------------------------- */

static void serve_stream(void)
{
	int fd = checked(accept(listeners[0], NULL, NULL), "accept");
	ssize_t got;

	while ((got = recv(fd, block, BLOCK, MSG_TRUNC)) > 0) /* taken off the queue without being copied */
		shared->arrived += got;
	pause();
}

static void serve_bytes(int once)
{
	char byte;

	for (int i = 0;; i = (i + 1) % ports) {
		int fd = checked(accept(listeners[i], NULL, NULL), "accept");

		while (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && !once)
			;
		close(fd);
	}
}

static void batch_of(struct mmsghdr *messages, struct iovec *parts, size_t size)
{
	memset(messages, 0, BATCH * sizeof(*messages));
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ block + i * DATAGRAM, size };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static void serve_datagrams(int answer)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);

	if (answer) {
		checked(recvfrom(listeners[0], block, 1, 0, (struct sockaddr *)&from, &length), "recvfrom");
		checked(sendto(listeners[0], block, 1, 0, (struct sockaddr *)&from, length), "sendto");
	}

	batch_of(messages, parts, 1);
	for (;;) {
		int got = recvmmsg(listeners[0], messages, BATCH, MSG_WAITFORONE | MSG_TRUNC, NULL);

		if (got > 0)
			shared->arrived += got;
	}
}

/* -- clients ----------------------------------------------------------------------------------------------------- */

struct outcome {
	double operations, seconds, busy, sent;
};

static clockid_t servers_time;

static uint64_t send_block(int fd)
{
	return checked(send(fd, block, BLOCK, MSG_NOSIGNAL), "send");
}

static uint64_t exchange(int fd)
{
	char byte = 0;

	checked(send(fd, &byte, 1, MSG_NOSIGNAL), "send");
	if (recv(fd, &byte, 1, 0) != 1)
		fail("no answer");
	return 1;
}

static uint64_t whole_connection(int first)
{
	int fd;

	if (ports > 1 && used == ports)
		return 0;
	towards(first + used++ % ports);
	fd = connected();
	exchange(fd);
	close(fd);
	return 1;
}

static uint64_t send_batch(int fd)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];

	if (!messages[0].msg_hdr.msg_iovlen)
		batch_of(messages, parts, DATAGRAM);
	return checked(sendmmsg(fd, messages, BATCH, 0), "sendmmsg");
}

static double busy(void)
{
	return at(CLOCK_PROCESS_CPUTIME_ID) + at(servers_time);
}

/* Until the server has taken what was sent, or no more of it comes. Never sleeping: others would take the processor. */
static void drain(uint64_t all)
{
	double since = at(CLOCK_MONOTONIC);
	uint64_t seen = shared->arrived;

	while (shared->arrived < all && at(CLOCK_MONOTONIC) - since < LOST) {
		sched_yield();
		if (shared->arrived != seen) {
			seen = shared->arrived;
			since = at(CLOCK_MONOTONIC);
		}
	}
}

/* Operate for a while; the clock is looked at every few operations. */
static struct outcome repeat(uint64_t (*operate)(int), int fd, double seconds, int look, int theirs)
{
	double start = at(CLOCK_MONOTONIC), begun = busy(), sent = -1;
	uint64_t before = shared->arrived;
	struct outcome found = { 0 };

	while (at(CLOCK_MONOTONIC) - start < seconds && sent != found.sent) { /* or all ports are used */
		sent = found.sent;
		for (int i = 0; i < look; i++)
			found.sent += operate(fd);
	}
	if (theirs)
		drain(before + found.sent);
	found.operations = theirs ? shared->arrived - before : found.sent;
	found.seconds = at(CLOCK_MONOTONIC) - start;
	found.busy = busy() - begun;
	return found;
}

static struct mode {
	const char *name;
	int type, look, theirs; /* look at the clock after so many; what counts is what the server saw */
	uint64_t (*operate)(int);
	int answered, buffer;
} modes[] = {
	{ "stream", SOCK_STREAM, 1, 1, send_block, 0, 2 << 20 },
	{ "rr", SOCK_STREAM, LOOK, 0, exchange, 0, 0 },
	{ "crr", SOCK_STREAM, LOOK, 0, whole_connection, 0, 0 },
	{ "first", SOCK_STREAM, LOOK, 0, whole_connection, 0, 0 },
	{ "udp", SOCK_DGRAM, 1, 1, send_batch, 1, 16 << 20 },
	{ "oneway", SOCK_DGRAM, 1, 1, send_batch, 0, 16 << 20 },
};

static void serve(const struct mode *mode)
{
	if (mode->operate == send_block)
		serve_stream();
	else if (mode->operate == send_batch)
		serve_datagrams(mode->answered);
	else
		serve_bytes(mode->operate == whole_connection);
}

static void listen_on(const struct mode *mode, int first)
{
	int one = 1;

	for (int i = 0; i < ports; i++) {
		int fd = listeners[i] = opened(mode->type);

		towards(first + i);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		checked(bind(fd, (struct sockaddr *)&to, to_length), "bind");
		if (mode->type == SOCK_STREAM)
			checked(listen(fd, 64), "listen");
	}
	towards(first);
}

static void address(const char *text)
{
	struct sockaddr_in *four = (struct sockaddr_in *)&to;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&to;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		to_length = sizeof(*four);
	} else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		to_length = sizeof(*six);
	} else {
		errno = EINVAL;
		fail(text);
	}
}

/* The client's socket; or the first port, where every operation makes its own. */
static int client(const struct mode *mode, int first)
{
	int fd;

	if (mode->operate == whole_connection)
		return first;
	if (mode->type == SOCK_STREAM)
		return connected();
	fd = opened(SOCK_DGRAM);
	checked(connect(fd, (struct sockaddr *)&to, to_length), "connect");
	if (mode->answered)
		exchange(fd);
	return fd;
}

int main(int count, char **words)
{
	struct outcome found;
	struct mode *mode;
	double seconds;
	int port, fd;
	pid_t server;

	if (count != 8) {
		fprintf(stderr, "traffic MODE CLIENT_NS SERVER_NS ADDRESS PORT MILLISECONDS CPU\n");
		return 2;
	}
	for (mode = modes; strcmp(mode->name, words[1]); mode++)
		if (mode == modes + sizeof(modes) / sizeof(*modes) - 1)
			return 2;
	buffer = mode->buffer;
	address(words[4]);
	port = atoi(words[5]);
	if (!strcmp(mode->name, "first"))
		ports = PORTS;
	seconds = atoi(words[6]) * 1e-3;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	signal(SIGALRM, give_up);
	alarm(PATIENCE + (int)seconds);
	setpriority(PRIO_PROCESS, 0, -20); /* a shared machine; an ordinary user does without */

	run_on(atoi(words[7]));
	enter(words[3]);
	listen_on(mode, port);
	server = checked(fork(), "fork");
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		shared->ready = 1;
		serve(mode);
		_exit(0);
	}
	for (int i = 0; i < ports; i++)
		close(listeners[i]);
	enter(words[2]);
	clock_getcpuclockid(server, &servers_time);
	while (!shared->ready)
		usleep(50);
	fd = client(mode, port);
	repeat(mode->operate, fd, WARM_MS * 1e-3, mode->look, mode->theirs);
	found = repeat(mode->operate, fd, seconds, mode->look, mode->theirs);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	printf("%.0f %.9f %.9f %.0f\n", found.operations, found.seconds, found.busy, found.sent);
	return 0;
}
