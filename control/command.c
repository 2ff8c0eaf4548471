/* SPDX-License-Identifier: Apache-2.0 */
/* What a line means: which command, with which arguments, and what is answered. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/server.h"

static const char *const type_names[] = {
	[CONTROL_STRING] = "string",
	[CONTROL_UINT] = "unsigned integer",
	[CONTROL_BOOL] = "boolean",
	[CONTROL_OBJECT] = "object",
};

int control_fail(struct control_error *err, int code, const char *class, const char *format, ...)
{
	va_list args;

	err->class = class;
	va_start(args, format);
	vsnprintf(err->desc, sizeof(err->desc), format, args);
	va_end(args);
	return code;
}

int control_reply_fd(struct control_call *call, int fd)
{
	int copy;

	if (call->reply_fd_count == CONTROL_FDS_MAX)
		return -EMFILE;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	call->reply_fds[call->reply_fd_count++] = copy;
	return 0;
}

const char *control_arg_string(const struct control_call *call, const char *name,
			       const char *fallback)
{
	const json_t *value = json_object_get(call->args, name);

	return value ? json_string_value(value) : fallback;
}

uint64_t control_arg_uint(const struct control_call *call, const char *name, uint64_t fallback)
{
	const json_t *value = json_object_get(call->args, name);

	return value ? (uint64_t)json_integer_value(value) : fallback;
}

bool control_arg_bool(const struct control_call *call, const char *name, bool fallback)
{
	const json_t *value = json_object_get(call->args, name);

	return value ? json_is_true(value) : fallback;
}

static bool has_type(const json_t *value, enum control_type type)
{
	switch (type) {
	case CONTROL_STRING:
		/* A string with a NUL in it would end early for code that takes it as C's. */
		return json_is_string(value) &&
		       strlen(json_string_value(value)) == json_string_length(value);
	case CONTROL_UINT:
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case CONTROL_BOOL:
		return json_is_boolean(value);
	case CONTROL_OBJECT:
		return json_is_object(value);
	}
	return false;
}

static const struct control_arg *find_arg(const struct control_command *command, const char *name)
{
	for (const struct control_arg *arg = command->args; arg && arg->name; arg++) {
		if (!strcmp(arg->name, name))
			return arg;
	}
	return NULL;
}

static int check_args(const struct control_command *command, json_t *args,
		      struct control_error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach(args, name, value)
	{
		const struct control_arg *arg = find_arg(command, name);

		if (!arg)
			return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
					    "%s has no argument '%.64s'", command->name, name);
		if (!has_type(value, arg->type))
			return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
					    "%s: '%s' must be of type %s", command->name, name,
					    type_names[arg->type]);
	}
	for (const struct control_arg *arg = command->args; arg && arg->name; arg++) {
		if (arg->required && !json_object_get(args, arg->name))
			return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
					    "%s: '%s' is missing (%s)", command->name, arg->name,
					    arg->help);
	}
	return 0;
}

static const struct registered *find_command(const struct control *control, const char *name)
{
	for (unsigned int i = 0; i < control->command_count; i++) {
		if (!strcmp(control->commands[i].command->name, name))
			return &control->commands[i];
	}
	return NULL;
}

int control_add_commands(struct control *control, const struct control_command *commands,
			 void *opaque)
{
	for (; commands->name; commands++) {
		if (find_command(control, commands->name))
			return -EEXIST;
		if (control->command_count == COMMANDS_MAX)
			return -ENOMEM;
		control->commands[control->command_count++] =
			(struct registered){ commands, opaque };
	}
	return 0;
}

/* {"execute": NAME, "arguments": {...}, "id": ANYTHING}, and no other member. */
static int run_request(struct control *control, json_t *request, struct control_call *call,
		       struct control_error *err)
{
	json_t *args = json_object_get(request, "arguments");
	const struct registered *found;
	const char *member, *name;
	json_t *value;
	int ret;

	json_object_foreach(request, member, value)
	{
		if (strcmp(member, "execute") != 0 && strcmp(member, "arguments") != 0 &&
		    strcmp(member, "id") != 0)
			return control_fail(
				err, -EINVAL, CONTROL_BAD_JSON,
				"a command has no member '%.64s', only execute, arguments and id",
				member);
	}
	name = json_string_value(json_object_get(request, "execute"));
	if (!name)
		return control_fail(err, -EINVAL, CONTROL_BAD_JSON,
				    "a command needs 'execute', a string");
	if (args && !json_is_object(args))
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "'arguments' must be an object");
	found = find_command(control, name);
	if (!found)
		return control_fail(err, -ENOENT, CONTROL_NOT_FOUND,
				    "there is no command '%.64s'; query-commands lists them", name);
	args = args ? json_incref(args) : json_object();
	if (!args)
		return control_fail(err, -ENOMEM, CONTROL_FAILED,
				    "the VM's process is out of memory");
	ret = check_args(found->command, args, err);
	if (!ret) {
		call->args = args;
		ret = found->command->run(found->opaque, call, err);
	}
	call->args = NULL;
	json_decref(args);
	return ret;
}

json_t *control_text(const char *text)
{
	json_t *string = json_string(text);
	size_t i, len = strlen(text);
	char *ascii;

	if (string)
		return string;
	ascii = malloc(len + 1);
	if (!ascii)
		return NULL;
	for (i = 0; i <= len; i++)
		ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	string = json_string(ascii);
	free(ascii);
	return string;
}

char *control_error_text(const struct control_error *err, json_t *id)
{
	json_t *reply = json_pack("{s:{s:s, s:o}}", "error", "class",
				  err->class ? err->class : CONTROL_FAILED, "desc",
				  control_text(err->desc));
	char *text = NULL;

	if (reply && (!id || !json_object_set(reply, "id", id)))
		text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	return text;
}

static char *return_text(struct control_call *call, json_t *id)
{
	json_t *ret = call->ret ? call->ret : json_object();
	json_t *reply = json_pack("{s:o}", "return", ret);
	char *text = NULL;

	call->ret = NULL;
	if (reply && (!id || !json_object_set(reply, "id", id)))
		text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	return text;
}

char *control_execute(struct control *control, const char *line, size_t len,
		      struct control_call *call)
{
	struct control_error err = { 0 };
	json_error_t where;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &where);
	json_t *id = NULL;
	char *text;
	int ret;

	if (!json_is_object(request)) {
		if (request)
			control_fail(&err, 0, CONTROL_BAD_JSON, "a command is a JSON object");
		else
			control_fail(&err, 0, CONTROL_BAD_JSON, "not JSON: %s, at byte %d",
				     where.text, where.position);
		text = control_error_text(&err, NULL);
		json_decref(request);
		return text;
	}
	id = json_object_get(request, "id");
	ret = run_request(control, request, call, &err);
	if (ret && !err.desc[0])
		control_fail(&err, ret, err.class, "%s", strerror(-ret));
	if (ret) {
		json_decref(call->ret);
		call->ret = NULL;
		while (call->reply_fd_count)
			close(call->reply_fds[--call->reply_fd_count]);
		text = control_error_text(&err, id);
	} else {
		text = return_text(call, id);
	}
	json_decref(request);
	return text;
}

static json_t *describe_args(const struct control_command *command)
{
	json_t *list = json_array();

	for (const struct control_arg *arg = command->args; arg && arg->name; arg++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s}", "name", arg->name,
						      "type", type_names[arg->type], "required",
						      arg->required, "help", arg->help));
	return list;
}

static int query_commands(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *control = opaque;

	call->ret = json_array();
	for (unsigned int i = 0; i < control->command_count; i++) {
		const struct control_command *c = control->commands[i].command;

		json_array_append_new(call->ret, json_pack("{s:s, s:s, s:s, s:o}", "name", c->name,
							   "help", c->help, "returns",
							   c->returns ? c->returns : "nothing",
							   "arguments", describe_args(c)));
	}
	return 0;
}

static int query_events(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *control = opaque;

	call->ret = json_array();
	for (const char *const *e = control->events; e && e[0]; e += 2)
		json_array_append_new(call->ret,
				      json_pack("{s:s, s:s}", "name", e[0], "help", e[1]));
	return 0;
}

static int query_version(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *control = opaque;

	call->ret = json_pack("{s:s, s:s, s:i, s:I}", "name", control->name, "version",
			      SEVMIRROR_VERSION, "protocol", CONTROL_PROTOCOL, "pid",
			      (json_int_t)getpid());
	return 0;
}

const struct control_command control_own_commands[] = {
	{ "query-commands", "The commands and their arguments.",
	  "a list of {name, help, returns, arguments}", NULL, query_commands },
	{ "query-events", "The events.", "a list of {name, help}", NULL, query_events },
	{ "query-version", "Name and version of the process that answers.",
	  "{name, version, "
	  "protocol, pid}",
	  NULL, query_version },
	{ 0 },
};

char *control_greeting_text(const struct control *control)
{
	json_t *greeting = json_pack("{s:{s:s, s:s, s:i}}", "sevmirror", "name", control->name,
				     "version", SEVMIRROR_VERSION, "protocol", CONTROL_PROTOCOL);
	char *text = greeting ? json_dumps(greeting, JSON_COMPACT) : NULL;

	json_decref(greeting);
	return text;
}
