/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MIB	      1048576.0
#define LINE_BYTES    256
#define COLUMNS	      80
#define QUIET_SECONDS 5.0 /* how often a line comes where there is no terminal */
#define UNKNOWN_MS    1e9 /* an estimate that says 'never' */
#define CLEAR_TO_END  "\033[K"

void migrate_progress_init(struct migrate_progress *p)
{
	const char *term = getenv("TERM");

	*p = (struct migrate_progress){ .live = isatty(STDERR_FILENO) && term &&
						strcmp(term, "dumb") != 0 };
}

static size_t columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return COLUMNS;
	return size.ws_col;
}

/* Append to text, as much as fits. */
static void add(char *text, size_t max, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void add(char *text, size_t max, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, max - used, format, args);
	va_end(args);
}

char *migrate_progress_line(const struct migrate_sample *s, char *text, size_t max)
{
	text[0] = '\0';
	if (s->phase == SEVMIRROR_PHASE_PRECOPY)
		add(text, max, "round %u", s->round);
	else
		add(text, max, "%s", migrate_phase_name(s->phase));
	if (s->round) {
		add(text, max, "  %.0f pages left", s->pages_left);
		if (s->rate > 0)
			add(text, max, "  %.1f MiB/s", s->rate / MIB);
		if (s->dirty_rate > 0)
			add(text, max, "  dirty %.1f MiB/s", s->dirty_rate / MIB);
		if (s->downtime_ms > 0 && s->downtime_ms < UNKNOWN_MS)
			add(text, max, "  downtime ~%.0f ms", s->downtime_ms);
		if (s->throttle)
			add(text, max, "  throttled %u %%", s->throttle);
	}
	add(text, max, "  %.1f s", s->seconds);
	return text;
}

/* Elsewhere than on a terminal: at the beginning of each round, and now and then in a long one. */
static bool due(const struct migrate_progress *p, const struct migrate_sample *s)
{
	return s->round != p->round || s->seconds - p->seconds >= QUIET_SECONDS;
}

void migrate_progress_show(struct migrate_progress *p, const struct migrate_sample *s)
{
	char line[LINE_BYTES];

	if (migrate_phase_ended(s->phase))
		return;
	if (p->live) {
		size_t width = columns();

		/*
		 * The last column stays free: some terminals begin a new line when it is written.
		 */
		migrate_progress_line(s, line, width < sizeof(line) ? width : sizeof(line));
		fprintf(stderr, "\r%s" CLEAR_TO_END, line);
		p->shown = true;
		return;
	}
	if (!due(p, s))
		return;
	p->round = s->round;
	p->seconds = s->seconds;
	fprintf(stderr, "%s\n", migrate_progress_line(s, line, sizeof(line)));
}

void migrate_progress_clear(struct migrate_progress *p)
{
	if (p->shown)
		fputs("\r" CLEAR_TO_END, stderr);
	p->shown = false;
}
