/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sev-host-switch --daemon DIR | --ping CTL | --control CTL COMMAND [ARGUMENT]
 *
 * A link between emulated hosts: a hub that gives each Ethernet frame of one port to all others.
 * Ports are QEMU's stream netdevs at DIR/sock (each frame behind its length, 32 bits, big-endian).
 * DIR/ctl takes the commands of `sev-host link`, a line each. The process ends when its last port
 * has gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"

#define PORTS_MAX 64
/* QEMU's own limit for a frame on this netdev */
#define FRAME_MAX (68u << 10)
/* A port that does not take its frames loses them, as on a real switch. */
#define PORT_QUEUE_MAX (4u << 20)
/* Without ports, the link waits this long for the host that somebody is just starting. */
#define HOLD_MS 30000

struct port {
	int fd;
	struct buf in, out;
};

struct hub {
	const char *dir;
	int sock, ctl;
	struct port ports[PORTS_MAX];
	unsigned int nports;
	bool cut;
	FILE *capture;
	uint64_t hold_until;
	uint64_t frames, cut_frames, dropped_frames;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static int unix_socket(const char *path, bool server)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >=
	    (int)sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (server ? bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 16) :
		     connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * The classic format of libpcap, link type Ethernet:
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-03.html
 */
static void capture_header(FILE *f)
{
	const uint32_t header[6] = { 0xa1b2c3d4, 2 | 4 << 16, 0, 0, FRAME_MAX, 1 };

	fwrite(header, sizeof(header), 1, f);
	fflush(f);
}

static void capture_frame(FILE *f, const uint8_t *frame, uint32_t len)
{
	struct timespec t;
	uint32_t header[4];

	clock_gettime(CLOCK_REALTIME, &t);
	header[0] = t.tv_sec;
	header[1] = t.tv_nsec / 1000;
	header[2] = header[3] = len;
	fwrite(header, sizeof(header), 1, f);
	fwrite(frame, len, 1, f);
}

static void port_close(struct hub *h, struct port *p)
{
	close(p->fd);
	buf_free(&p->in);
	buf_free(&p->out);
	*p = h->ports[--h->nports];
}

static void port_open(struct hub *h)
{
	int fd = accept4(h->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (h->nports == PORTS_MAX) {
		close(fd);
		return;
	}
	h->ports[h->nports++] = (struct port){ .fd = fd };
	h->hold_until = 0;
}

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

/* @data is the frame with its length in front. */
static void forward(struct hub *h, const struct port *from, const uint8_t *data, size_t len)
{
	h->frames++;
	if (h->cut) {
		h->cut_frames++;
		return;
	}
	if (h->capture)
		capture_frame(h->capture, data + 4, len - 4);
	for (unsigned int i = 0; i < h->nports; i++) {
		struct port *p = &h->ports[i];

		if (p == from)
			continue;
		if (buf_len(&p->out) > PORT_QUEUE_MAX || buf_append(&p->out, data, len))
			h->dropped_frames++;
	}
}

/* Returns false when the port is gone or talks nonsense. */
static bool port_run(struct hub *h, struct port *p, short revents)
{
	ssize_t n;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		n = buf_read(&p->in, p->fd, 256 << 10);
		if (n <= 0 && n != -EAGAIN)
			return false;
		while (buf_len(&p->in) >= 4) {
			uint32_t len = get_be32(buf_data(&p->in));

			if (len > FRAME_MAX)
				return false;
			if (buf_len(&p->in) < 4 + (size_t)len)
				break;
			forward(h, p, buf_data(&p->in), 4 + (size_t)len);
			buf_consume(&p->in, 4 + (size_t)len);
		}
	}
	return true;
}

static bool port_flush(struct port *p)
{
	ssize_t n;

	if (!buf_len(&p->out))
		return true;
	n = buf_write(&p->out, p->fd, 256 << 10);
	return n >= 0 || n == -EAGAIN;
}

static void end_capture(struct hub *h)
{
	if (h->capture)
		fclose(h->capture);
	h->capture = NULL;
}

static void command(struct hub *h, char *line, char *answer, size_t size)
{
	char *arg = strchr(line, ' ');

	if (arg)
		*arg++ = 0;
	snprintf(answer, size, "ok\n");
	if (!strcmp(line, "ping")) {
		h->hold_until = now_ms() + HOLD_MS;
	} else if (!strcmp(line, "cut")) {
		h->cut = true;
	} else if (!strcmp(line, "restore")) {
		h->cut = false;
	} else if (!strcmp(line, "no-capture")) {
		end_capture(h);
	} else if (!strcmp(line, "capture") && arg) {
		end_capture(h);
		h->capture = fopen(arg, "we");
		if (h->capture)
			capture_header(h->capture);
		else
			snprintf(answer, size, "error: %s: %s\n", arg, strerror(errno));
	} else if (!strcmp(line, "status")) {
		snprintf(answer, size,
			 "ok %s, %u hosts, %llu frames, %llu lost by the cut, %llu dropped%s\n",
			 h->cut ? "cut" : "connected", h->nports, (unsigned long long)h->frames,
			 (unsigned long long)h->cut_frames, (unsigned long long)h->dropped_frames,
			 h->capture ? ", captured" : "");
	} else {
		snprintf(answer, size, "error: no command '%s'\n", line);
	}
}

/* Commands come from this user's own tool, one per connection. */
static void control(struct hub *h)
{
	struct timeval limit = { .tv_sec = 1 };
	char line[4200], answer[4400];
	int fd = accept4(h->ctl, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	n = read(fd, line, sizeof(line) - 1);
	if (n > 0) {
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		command(h, line, answer, sizeof(answer));
		if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			errno = 0;
	}
	close(fd);
}

static void loop(struct hub *h)
{
	struct pollfd fds[2 + PORTS_MAX];

	h->hold_until = now_ms() + HOLD_MS;
	while (h->nports || now_ms() < h->hold_until) {
		unsigned int n = h->nports;

		fds[0] = (struct pollfd){ h->sock, POLLIN, 0 };
		fds[1] = (struct pollfd){ h->ctl, POLLIN, 0 };
		for (unsigned int i = 0; i < n; i++)
			fds[2 + i] =
				(struct pollfd){ h->ports[i].fd,
						 POLLIN | (buf_len(&h->ports[i].out) ? POLLOUT : 0),
						 0 };
		if (poll(fds, 2 + n, h->nports ? -1 : 1000) < 0 && errno != EINTR)
			return;
		/* backwards, because a port that goes is replaced by the last one */
		for (unsigned int i = n; i-- > 0;)
			if (!port_run(h, &h->ports[i], fds[2 + i].revents))
				port_close(h, &h->ports[i]);
		for (unsigned int i = h->nports; i-- > 0;)
			if (!port_flush(&h->ports[i]))
				port_close(h, &h->ports[i]);
		if (h->capture)
			fflush(h->capture);
		if (fds[0].revents)
			port_open(h);
		if (fds[1].revents)
			control(h);
	}
}

static int serve(const char *dir)
{
	struct hub h = { .dir = dir };
	char sock[200], ctl[200];
	int null;

	snprintf(sock, sizeof(sock), "%s/sock", dir);
	snprintf(ctl, sizeof(ctl), "%s/ctl", dir);
	h.sock = unix_socket(sock, true);
	h.ctl = unix_socket(ctl, true);
	if (h.sock < 0 || h.ctl < 0) {
		fprintf(stderr, "sev-host-switch: %s: %s\n", dir, strerror(errno));
		return 1;
	}
	fcntl(h.sock, F_SETFL, O_NONBLOCK);
	fcntl(h.ctl, F_SETFL, O_NONBLOCK);
	switch (fork()) {
	case -1:
		perror("sev-host-switch: fork");
		return 1;
	case 0:
		break;
	default:
		return 0;
	}
	setsid();
	/* the starter's locks must not stay with us */
	for (int fd = 3; fd < 1024; fd++)
		if (fd != h.sock && fd != h.ctl)
			close(fd);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	loop(&h);
	unlink(sock);
	unlink(ctl);
	end_capture(&h);
	while (h.nports)
		port_close(&h, &h.ports[0]);
	return 0;
}

static int send_command(const char *ctl, const char *verb, const char *arg, bool quiet)
{
	char text[4400];
	int fd = unix_socket(ctl, false), len;
	ssize_t n = -1;

	if (fd >= 0) {
		len = snprintf(text, sizeof(text), "%s%s%s\n", verb, arg ? " " : "",
			       arg ? arg : "");
		if (len < 4100 && write(fd, text, len) == len)
			n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (n <= 0) {
		if (!quiet)
			fprintf(stderr, "sev-host: the link does not answer\n");
		return 1;
	}
	text[n] = 0;
	if (!strncmp(text, "ok", 2)) {
		if (text[2] == ' ')
			fputs(text + 3, stdout);
		return 0;
	}
	fprintf(stderr, "sev-host: %s", text);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--daemon"))
		return serve(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--ping"))
		return send_command(argv[2], "ping", NULL, true);
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "--control"))
		return send_command(argv[2], argv[3], argv[4], false);
	fprintf(stderr, "usage: sev-host-switch --daemon DIR | --ping CTL | --control CTL COMMAND "
			"[ARGUMENT]\n");
	return 2;
}
