/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

struct bench {
	json_t *root, *rows, *notes;
};

double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void cpu_model(char *model, size_t bytes)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096];

	snprintf(model, bytes, "unknown CPU");
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(model, bytes, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

/* Paravirtual KVM without VMX or SVM: exits and faults cost there what they cost nowhere else. */
static bool paravirtual_kvm(void)
{
	FILE *f = fopen("/proc/cmdline", "re");
	char line[4096] = "";
	bool is;

	is = f && fgets(line, sizeof(line), f) && strstr(line, "nested_pvm=1");
	if (f)
		fclose(f);
	return is;
}

struct bench *bench_begin(const char *title, const char *method)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct utsname host;
	char model[256];

	if (!b || !(b->root = json_object()) || !(b->rows = json_array()) ||
	    !(b->notes = json_array()))
		abort();
	cpu_model(model, sizeof(model));
	uname(&host);
	printf("%s\n  machine  %s, %ld CPUs, Linux %s%s\n  method   %s\n\n", title, model,
	       sysconf(_SC_NPROCESSORS_ONLN), host.release,
	       paravirtual_kvm() ? ", paravirtual KVM (no VMX or SVM)" : "", method);
	json_object_set_new(b->root, "title", json_string(title));
	json_object_set_new(b->root, "method", json_string(method));
	json_object_set_new(b->root, "cpu", json_string(model));
	json_object_set_new(b->root, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_set_new(b->root, "kernel", json_string(host.release));
	json_object_set_new(b->root, "paravirtual_kvm", json_boolean(paravirtual_kvm()));
	json_object_set_new(b->root, "rows", b->rows);
	json_object_set_new(b->root, "notes", b->notes);
	if (paravirtual_kvm())
		bench_note(b,
			   "this machine's KVM is paravirtual: figures bound by exits and faults "
			   "belong to that kind of host");
	return b;
}

void bench_row(struct bench *b, const char *what, double value, const char *unit,
	       const char *remark)
{
	json_t *row = json_object();

	printf("  %-48s %10.3f %-10s %s\n", what, value, unit, remark ? remark : "");
	fflush(stdout);
	json_object_set_new(row, "what", json_string(what));
	json_object_set_new(row, "value", json_real(value));
	json_object_set_new(row, "unit", json_string(unit));
	if (remark)
		json_object_set_new(row, "remark", json_string(remark));
	json_array_append_new(b->rows, row);
}

void bench_note(struct bench *b, const char *text)
{
	printf("  # %s\n", text);
	json_array_append_new(b->notes, json_string(text));
}

int bench_end(struct bench *b, const char *path)
{
	int error = path && json_dump_file(b->root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) ?
			    -EIO :
			    0;

	json_decref(b->root);
	free(b);
	return error;
}
