/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What SAND's programs say to each other. Every channel speaks D-Bus, peer to peer, little endian or
 * big, with descriptor passing. Needs no library: it is read beside sd-bus where root
 * controls something, and everywhere else beside a small peer of our own (wire.h).
 *
 * Types: an execution or invocation id is 32 lower-case hex digits; a deadline is an absolute time in
 * microseconds of CLOCK_MONOTONIC (0: none); a payload is a variant that holds `ay`, the bytes, or
 * `h`, a memfd with F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW|F_SEAL_WRITE whose size is the payload's.
 *
 * A usage is `(ttt)`: wall-clock microseconds from hand-over to the reply, CPU microseconds, peak
 * resident memory in bytes. */

/* The socket NAME.sock of a machine, offered by sand-supervisord to gatewayd, globald, sandctl, and
 * (Invoke, Send and Emit) to its own instances. EXTERNAL and ANONYMOUS are taken of whoever may connect; who has not
 * authenticated after 25 s is disconnected. Peer, Introspectable and Properties of org.freedesktop.DBus are answered.
 *
 * Invoke(s target, s execution, t deadline, s content_type, a{ss} headers, v payload)
 *        -> (s content_type, (ttt) usage, v payload)
 *   target        a function's name; from an instance also `app/function`, which goes by globald
 *   execution     empty: the supervisor makes one. From an instance: ignored, it inherits its own
 *   content_type  of the payload; empty: not known
 *   headers       metadata of the event, keys in lower case; known: traceparent, caller, and SAND_HEADER_CGI
 * Send, from an instance, takes the same arguments and answers (s execution) once globald has the event on disk; in
 *   developer's mode, once it is queued in memory.
 * Emit, from an instance: the same with a topic as the target, answers (s id). Unavailable in developer's mode.
 * Describe() -> (s json): application, version, functions with their limits.
 * Signal GoAway(): send nothing more on this connection, close it after the last reply.
 *
 * Errors: org.sand.Error.X with the body (s message, s error, s cause, (ttt) usage): `error` is the
 * exception's class or X, `cause` what the function's author needs to see (may be empty). */
#define SAND_APP_PATH "/org/sand/App1"
#define SAND_APP_INTERFACE "org.sand.App1"
#define SAND_INVOKE_SIGNATURE "ssts"     /* then a{ss}, then v */
#define SAND_INVOKE_FULL_SIGNATURE "sstsa{ss}v"
#define SAND_REPLY_FULL_SIGNATURE "s(ttt)v"
#define SAND_ERROR_FULL_SIGNATURE "sss(ttt)"

/* The socket NAME.control, offered by sand-supervisord to root on the host: the directory that it lies in is
 * closed to others. The supervisor gets NAME.sock as descriptor 3 and this one as 4.
 *
 * Prepare(s version): load that version's manifest and all its workers beside the running ones and
 *   keep them until the caller's connection closes. Errors: InvalidBundle, LoadFailed.
 * Reload() -> (s version): make the version that `current` names the running one, taking what
 *   Prepare loaded. Old workers finish their events. Errors as above; then the old version goes on.
 * Drain(): GoAway to all, finish, exit. Answered at once.
 * SetCredential(s name, h value): the value of a secret, a sealed memfd. Functions that declare it find it when they
 *   next open its file; versions that are prepared later, too. Kept until the machine ends; from the next start on
 *   systemd hands it over.
 * State() -> (s json): version, uptime, per function queue, running, waiting, counters. */
#define SAND_CONTROL_PATH "/org/sand/Control1"
#define SAND_CONTROL_INTERFACE "org.sand.Control1"

/* The event log and what goes beyond an application, offered by sand-globald on two sockets: SAND_EVENTS_SOCKET to who may
 * invoke every function of the host (gatewayd, sandctl, group sand-invoke), and SAND_MACHINE_EVENTS_SOCKET, bound into
 * every machine, to its supervisor alone: a peer's uid there must be the base of an application's range, and says which
 * application it is. EXTERNAL and ANONYMOUS are taken, as above.
 *
 * Every method has Invoke's arguments and Invoke's answer:
 *   X(s target, s execution, t deadline, s content_type, a{ss} headers, v payload)
 *        -> (s content_type, (ttt) usage, v payload)
 * with the errors above. Where a method takes or gives a document it is the payload, JSON, in UTF-8.
 *
 * Send: the event is on disk when the answer comes. target `app/function`; of a machine also `function`, of its own
 *   application. execution: what set it off; empty: it is an execution of its own. Headers that begin with "sand-" are
 *   options (below) and do not travel on; the others reach the function as with Invoke.
 *   -> {"id": ID, "duplicate": false}; duplicate: that key was there before, and nothing was accepted now.
 * Emit: target is a topic, SAND_TOPIC_CHARACTERS, at most 128 bytes, with at most 2 MiB; of the host `app//topic`. One event for each function
 *   whose trigger matches, of the application and of those that allow it, all or none on disk when the answer comes. Its payload is a
 *   CloudEvent 1.0 in structured mode (application/cloudevents+json), made here; or the payload itself, if its content type is that.
 *   -> {"id": ID, "events": 2}
 * Invoke: a synchronous call to another application, of a machine only; target `app/function`. Denied unless its manifest
 *   allows the caller.
 *
 * Of the host only. Those marked (root) ask for uid 0: they show payloads, or alter what was accepted.
 * Execution: target is an id. Headers: "wait" "1": the answer comes when it has ended (or at the deadline:
 *   Timeout). Root may give a unique prefix of at least 4 digits. -> one execution:
 *   {"id", "execution", "app", "function", "status": "accepted"|"running"|"done"|"dead", "attempts", "accepted_usec",
 *    "next_usec" (accepted only), "finished_usec", "source", "content_type", "result" (JSON) or "result_base64",
 *    "error": "FunctionFailed", "error_class", "message", "cause"}: absent where there is nothing to say.
 * Executions (root): payload {"app", "function", "status", "limit" (100), "before": ID}, all optional -> an array of the above
 *   without results, newest first.
 * DeadLetters (root): the same filter. DeadLetter (root): target is an id or prefix -> the above and "payload" or
 *   "payload_base64", "payload_content_type", "headers".
 * Replay (root), Drop (root): payload {"ids": [...]} or {"app": NAME, "function": NAME} or {"all": true} -> {"events": 3}.
 *   A replayed event keeps its id, and has all its attempts again.
 * Compare: target is `app//source`; payload an array of keys -> an array of those that were never accepted of that source as
 *   idempotency keys with "sand-key-keep". Keys of the source that are not in the array are forgotten.
 * State (root) -> counters for people and machines.
 *
 * Options of Send and Emit:
 *   sand-idempotency-key  1 to 256 bytes: the same key of the same application (and source) is accepted once in a window
 *   sand-key-keep         "1": the key is kept until Compare forgets it
 *   sand-delay-usec       earliest delivery, after now
 *   sand-max-age-usec     dead after that, after its delay; at most and by default the function's retry.age_max
 *   sand-callback         URL that the result is posted to
 *   sand-source           what set it off, such as a trigger's unit; shown
 *   sand-overlap          "skip": refused as Busy while another event of that source has not ended */
#define SAND_EVENTS_PATH "/org/sand/Events1"
#define SAND_EVENTS_INTERFACE "org.sand.Events1"
#define SAND_OPTION_PREFIX "sand-"
#define SAND_TOPIC_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define SAND_TOPIC_SIZE_MAX 128U
/* Of an emitted payload: what the gateway takes, 1 MiB, is longer in a CloudEvent, in base64. */
#define SAND_EMIT_SIZE_MAX (2U * 1024U * 1024U)
#define SAND_IDEMPOTENCY_KEY_MAX 256U

/* Supervisor and worker, over a socketpair, descriptor SAND_CHANNEL_FD of the worker. The supervisor
 * is the D-Bus server. The worker sends its whole authentication (EXTERNAL without an argument,
 * NEGOTIATE_UNIX_FD, BEGIN) and its first message without waiting for the answers.
 *
 * Worker's signals: Loaded(); LoadFailed(s message, s error, s cause), then it exits.
 * Supervisor's call: Fork(i cpu, a(hh) instances) -> (ai pids): for each a fresh instance with `socket` as
 *   SAND_CHANNEL_FD and `log` as standard output and error; its pid, or a negative errno. The child
 *   is made by clone(CLONE_PARENT): the supervisor reaps it. It waits for its event bound to `cpu`, unless
 *   that is negative.
 * End of file: the worker exits at once. */
#define SAND_WORKER_PATH "/org/sand/Worker1"
#define SAND_WORKER_INTERFACE "org.sand.Worker1"

/* Supervisor and instance, over the socket that Fork passed. Both ends are wires (wire.h): each sends what it has of the
 * authentication with its first message.
 *
 * Instance's signal: Ready(), in one send with its authentication.
 * Supervisor's call: Handle(s execution, s invocation, t deadline, s content_type, a{ss} headers,
 *   v payload) -> (s content_type, (ttt) usage, v payload), or an error as above.
 * Then the instance waits: for the next Handle, or for end of file, at which it exits with 0.
 * While it handles an event it may call Invoke, Send and Emit of SAND_APP_INTERFACE. */
#define SAND_INSTANCE_PATH "/org/sand/Instance1"
#define SAND_INSTANCE_INTERFACE "org.sand.Instance1"
#define SAND_HANDLE_FULL_SIGNATURE "sstsa{ss}v"

#define SAND_CHANNEL_FD 3

/* The variables of CGI/1.1, one NAME=value a line: the event's payload is a request's body, and what a program answers
 * is a header and a body (gatewayd, workers/exec.c). */
#define SAND_HEADER_CGI "cgi"

/* How many calls an event is inside of, decimal: of what passes through globald, so that a loop over applications ends. */
#define SAND_HEADER_DEPTH "depth"

/* What an event's headers may be, keys and values together. */
#define SAND_HEADERS_BYTES_MAX (64U * 1024U)

/* A worker's environment, set by the supervisor, removed before user code runs unless marked (kept).
 * Its arguments: the function's handler, as in the manifest; its working directory: the version. */
#define SAND_ENV_APP "SAND_APP"           /* (kept) application */
#define SAND_ENV_FUNCTION "SAND_FUNCTION" /* (kept) function */
#define SAND_ENV_VERSION "SAND_VERSION"   /* (kept) version, N-HASH */
#define SAND_ENV_CONTENT_TYPE "SAND_CONTENT_TYPE"   /* of results, when the manifest says one */
#define SAND_ENV_PAYLOAD_MAX "SAND_PAYLOAD_MAX"     /* bytes, decimal, of a result or a call */
#define SAND_ENV_MEMORY "SAND_MEMORY"     /* RLIMIT_DATA of an instance, bytes, decimal; the worker sets
                                             it in the child, so that loading is not bound by it */
#define SAND_ENV_CREDENTIALS "CREDENTIALS_DIRECTORY" /* (kept) where the function's secrets are, if it has some */
/* Set in exec and native instances for the event at hand (kept). */
#define SAND_ENV_EXECUTION "SAND_EXECUTION"
#define SAND_ENV_INVOCATION "SAND_INVOCATION"
#define SAND_ENV_DEADLINE "SAND_DEADLINE" /* microseconds of CLOCK_MONOTONIC, decimal */
#define SAND_ENV_BUS "SAND_BUS"           /* where sand-call reaches its instance */

/* Payloads from this size on travel as a sealed memfd. Measured (tests/bench/local --crossing, p50 of memfd / inline,
 * a fresh process each event), with 32, 64, 128 and 512 KiB: one hop 1.3, 0.9, 0.5, 0.2; a chain of 4, in which the
 * memfd is passed on, 0.7, 0.8, 0.4, 0.2. */
#ifndef SAND_MEMFD_THRESHOLD
#define SAND_MEMFD_THRESHOLD (64U * 1024U)
#endif

/* Nothing that the programs exchange is larger than this, whatever a manifest says. */
#define SAND_PAYLOAD_HARD_MAX (UINT64_C(64) * 1024 * 1024)

/* Of one secret. What systemd 252 still loads, encrypted and in base64, is a little more; of all secrets of a service it
 * is 1 MiB (CREDENTIALS_TOTAL_SIZE_MAX there). */
#define SAND_SECRET_SIZE_MAX (768 * 1024)
#define SAND_SECRETS_TOTAL_MAX (1024 * 1024)

/* sand-hostd on the system bus. */
#define SAND_HOST_NAME "org.sand.Host1"
#define SAND_HOST_PATH "/org/sand/Host1"
#define SAND_HOST_INTERFACE "org.sand.Host1"

/* Where things are on a host. */
#define SAND_RUN_DIR "/run/sand"
/* Of a machine with mounts, in a mount namespace of its own: "0", "1", ... in the order of its sand.json. */
#define SAND_MOUNTS_DIR SAND_RUN_DIR "/mounts"
#define SAND_APP_SOCKET_DIR "/run/sand/app"        /* NAME.sock, 0660 root:sand-invoke */
#define SAND_CONTROL_SOCKET_DIR "/run/sand/control" /* NAME.control, in a directory 0700 root */
#define SAND_EVENTS_SOCKET "/run/sand/globald/socket" /* in a directory 2750 root:sand-invoke */
#define SAND_EVENTS_SOCKET_DIR "/run/sand/events"       /* what is bound into machines: "socket" */
#define SAND_STATE_DIR "/var/lib/sand"
#define SAND_GLOBALD_STATE_DIR "/var/lib/sand/globald"  /* events.db, of the user sand-globald */
#define SAND_OVERRIDES_DIR "/etc/sand/apps"        /* NAME.json.d/: what operators override */
#define SAND_APPS_DIR "/var/lib/sand/apps"         /* NAME/N-HASH/, NAME/current, NAME/uids.json: hostd/app.h */
#define SAND_APP_STATE_DIR "/var/lib/sand/state"   /* NAME */
#define SAND_CATALOGUE_DIR "/var/lib/sand/catalogue" /* NAME.json */
#define SAND_SECRETS_DIR "/var/lib/sand/secrets"   /* NAME/SECRET, encrypted */
#define SAND_TOKENS_DIR "/var/lib/sand/tokens"     /* NAME.json: token.h */

/* The network of machines (network-plan.h), kept by sand-network.service: its plan, and their resolv.conf. */
#define SAND_NETWORK_DIR "/run/sand/network"
#define SAND_NETWORK_FILE "/var/lib/sand/network" /* the plan from one boot to the next */
#define SAND_NETWORK_PLAN "plan"
/* A machine's number in it, beside its versions. */
#define SAND_NETWORK_NUMBER "address"

/* And inside a machine. Its root owns what others must not alter; each function has a uid of its own
 * (uids.json) and all have one group, to which /state is open. */
#define SAND_APP_GID 1000U
#define SAND_FUNCTION_UID_FIRST 1001U
#define SAND_FUNCTION_UID_LAST 65000U
#define SAND_MACHINE_VERSIONS_DIR "/run/sand/versions"         /* = SAND_APPS_DIR/NAME, read-only */
#define SAND_MACHINE_JOURNAL_SOCKET "/run/sand/journal/socket" /* = /run/systemd/journal/socket */
#define SAND_MACHINE_EVENTS_SOCKET "/run/sand/events/socket"   /* its directory = SAND_EVENTS_SOCKET_DIR */
#define SAND_MACHINE_CREDENTIALS_DIR "/credentials"            /* a mount point: each worker sees its own there */
#define SAND_MACHINE_NETWORK_DIR "/etc/sand"                   /* = SAND_NETWORK_DIR, with a network only */
#define SAND_MACHINE_NOTIFY_SOCKET "/run/sand/notify"          /* = /run/systemd/notify */
