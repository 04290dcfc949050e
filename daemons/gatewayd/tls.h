/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The certificate for clients from outside. It may be replaced at any time: a connection keeps the one that was there
 * when it was accepted. Knows GnuTLS, and of libmicrohttpd only that it calls back for a certificate. */

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdint.h>

#include "macro.h"

/* TLS 1.3 and 1.2; ephemeral keys and authenticated ciphers only. */
#define TLS_PRIORITIES                                                                                                \
        "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"    \
        ":%SERVER_PRECEDENCE"

typedef struct Tls Tls;
typedef struct TlsCertificate TlsCertificate;

int tls_new(Tls **ret);
Tls *tls_free(Tls *t);
DEFINE_POINTER_CLEANUP(Tls *, tls_free);

/* A chain, the server's certificate first, and its key, both PEM. On failure the one before stays, and `ret_problem`
 * (caller frees; NULL: out of memory) says what is wrong. */
int tls_load(Tls *t, const char *certificate_file, const char *key_file, char **ret_problem);
bool tls_is_ready(const Tls *t);
/* When the first certificate of the chain expires, microseconds of CLOCK_REALTIME; 0: there is none. */
uint64_t tls_expires_usec(const Tls *t);

/* Gives the session the certificate that is current now; NULL: there is none. */
TlsCertificate *tls_attach(Tls *t, gnutls_session_t session);
TlsCertificate *tls_certificate_unref(TlsCertificate *c);

/* A gnutls_certificate_retrieve_function2. */
int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *ca_names, int n_ca_names,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **ret_chain,
                 unsigned *ret_n_chain, gnutls_privkey_t *ret_key);
