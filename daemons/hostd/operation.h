/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Something done to an application: a list of steps, each of which may wait. Operations on one application follow
 * one another, on different ones they run side by side. When a step fails, the operation goes on with the
 * steps that undo; it is over when these are, and then says how it went. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "app.h"
#include "error.h"
#include "machine-control.h"
#include "manager.h"
#include "task.h"
#include "token.h"

typedef struct Operation Operation;
typedef struct Operations Operations;

/* 0: go on; 1: operation_continue() or operation_fail() will be called; negative: failed, see operation_fail(). */
typedef int (*OperationStep)(Operation *o);

typedef void (*operation_done_t)(Operation *o, void *userdata);

struct Operation {
        Operations *all;
        Operation *next;
        const OperationStep *steps; /* what is to be done, ends in NULL */
        const OperationStep *undo;  /* what follows a failure; NULL: nothing */
        operation_done_t done;      /* may be NULL; the operation is freed behind it */
        void *userdata;
        char *name;        /* of the application, known at latest when `locked` is asked for */
        bool locked;       /* has the application for itself */
        bool waits_lock, waits_reload;
        bool failed, undoing, undo_failed;
        sd_bus_error error;

        /* What it waits for, at most one at a time, but for the control connection. */
        Task *task;
        ManagerRequest *request;
        MachineControl *control;

        /* What steps tell each other. */
        char *requested_name;
        char *incoming, *hash;
        int bundle_fd, incoming_fd;
        char *bundle;            /* the version whose files it is; NULL: those of `incoming` */
        char *version, *previous; /* with their overrides */
        char *wanted;            /* what a rollback asks for; "": the version before */
        char *overrides;         /* a folder as `incoming` is */
        char *override_file, *override_text, *override_old; /* to be written; NULL: none. What was there */
        char *source;
        uid_t uid;               /* of who asks */
        char **in_use;           /* versions that the machine has loaded; NULL: not known */
        Manifest *manifest;
        bool first, touched, unchanged, activated, changed, keep_state, remove_secrets, was_active, may_run, reloading, started;
        bool override_written;
        char **units, **units_gone; /* of triggers: to be started, to be stopped */
        char *secret;      /* to be set or removed */
        int value_fd;      /* of a secret */
        Token token;       /* to be made, or that was revoked */
        char *token_prefix;
        size_t n_pushed;   /* secrets that the machine has been handed */
        bool renew;        /* the machine's own file has changed, which a machine reads when it starts */
        unsigned prunes; /* tasks' pass; remove.c */
};

struct Operations {
        sd_event *event;
        Manager *manager;
        Places places;
        Operation *list;
        unsigned n;
        bool reloading;
        bool reload_later; /* systemd has read all that it needs, but sand.target knows not all sockets that it wants */
        ManagerRequest *reload;
        void (*emptied)(void *userdata); /* when the last operation has ended */
        void *userdata;
};

int operation_new(Operations *all, const char *name, const OperationStep *steps, const OperationStep *undo,
                  operation_done_t done, void *userdata, Operation **ret);
/* Frees an operation that was not started. */
Operation *operation_free(Operation *o);
DEFINE_POINTER_CLEANUP(Operation *, operation_free);

/* Runs the first step; the operation is its own from here on. */
void operation_start(Operation *o);
void operation_continue(Operation *o);
/* `error` may be NULL, then the vocabulary's error for `r` is taken. The first error is kept. */
void operation_fail(Operation *o, int r, const sd_bus_error *error);

/* Records an error, for a step to return. */
int operation_error(Operation *o, SandError e, const char *format, ...) _printf_(3, 4);
/* For what went wrong on our side: logged, and told to the caller. */
int operation_error_errno(Operation *o, int r, const char *what);

/* Steps of several operations. */
int step_lock(Operation *o);
int step_reload_manager(Operation *o); /* if `changed` */
/* The first of an application's units: systemd reads them when they are loaded, and is told later. If it has not read
 * them so, `changed` stays. */
int step_see_units(Operation *o);
int step_enable(Operation *o);
int step_start_socket(Operation *o);
/* Sets `was_active`: whether the machine runs; and `may_run`: whether it does, or is being started. */
int step_ask_active(Operation *o);

/* A handler of the manager's for which `userdata` is an operation that waits. */
void operation_on_manager(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata);

/* Does what was left for later, and calls `emptied`. 0: nothing was. */
int operations_settle(Operations *all);

/* Kills what runs. */
void operations_done(Operations *all);
