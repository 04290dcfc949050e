/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tls.h"

#include <assert.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define CHAIN_MAX 16U
#define FILE_SIZE_MAX (1024 * 1024)
#define KEY_ID_MAX 64U

struct TlsCertificate {
        unsigned n_ref;
        gnutls_pcert_st chain[CHAIN_MAX];
        unsigned n_chain;
        gnutls_privkey_t key;
        uint64_t expires_usec;
};

struct Tls {
        TlsCertificate *current;
};

int tls_new(Tls **ret) {
        Tls *t = calloc(1, sizeof(Tls));

        if (!t)
                return -ENOMEM;
        *ret = t;
        return 0;
}

Tls *tls_free(Tls *t) {
        if (!t)
                return NULL;
        tls_certificate_unref(t->current);
        free(t);
        return NULL;
}

TlsCertificate *tls_certificate_unref(TlsCertificate *c) {
        if (!c || --c->n_ref > 0)
                return NULL;
        for (unsigned i = 0; i < c->n_chain; i++)
                gnutls_pcert_deinit(c->chain + i);
        gnutls_privkey_deinit(c->key);
        free(c);
        return NULL;
}
DEFINE_POINTER_CLEANUP(TlsCertificate *, tls_certificate_unref);

/* ---- loading ---- */

static int problem(char **ret, const char *format, ...) _printf_(2, 3);
static int problem(char **ret, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret, format, ap) < 0)
                *ret = NULL;
        va_end(ap);
        return -EBADMSG;
}

static void datum_done(gnutls_datum_t *d) {
        if (d->data)
                explicit_bzero(d->data, d->size); /* it may be a key */
        gnutls_free(d->data);
}

static int load_file(const char *path, gnutls_datum_t *ret, char **ret_problem) {
        struct stat st;

        if (stat(path, &st) < 0)
                return problem(ret_problem, "%s cannot be read: %m", path);
        if (!S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
                return problem(ret_problem, "%s is no PEM file.", path);
        if (gnutls_load_file(path, ret) < 0)
                return problem(ret_problem, "%s cannot be read: %m", path);
        return 0;
}

static int use_chain(TlsCertificate *c, const char *path, gnutls_x509_crt_t *chain, unsigned n, char **ret_problem) {
        char date[64] = "";
        struct tm tm;
        time_t expires;
        int r;

        expires = gnutls_x509_crt_get_expiration_time(chain[0]);
        if (expires <= time(NULL)) {
                if (gmtime_r(&expires, &tm))
                        (void) strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
                return problem(ret_problem, "the certificate in %s expired on %s.", path, date);
        }
        c->expires_usec = (uint64_t) expires * USEC_PER_SEC;
        c->n_chain = n;
        r = gnutls_pcert_import_x509_list(c->chain, chain, &c->n_chain, GNUTLS_X509_CRT_LIST_SORT);
        if (r < 0) {
                c->n_chain = 0;
                return problem(ret_problem, "the certificates in %s are no chain, the server's first: %s", path,
                               gnutls_strerror(r));
        }
        return 0;
}

/* The server's certificate and those that lead to one that clients know. */
static int load_chain(TlsCertificate *c, const char *path, uint8_t *ret_id, size_t *ret_id_size, char **ret_problem) {
        _cleanup_(datum_done) gnutls_datum_t text = {};
        gnutls_x509_crt_t chain[CHAIN_MAX];
        unsigned n = CHAIN_MAX;
        int r;

        r = load_file(path, &text, ret_problem);
        if (r < 0)
                return r;
        r = gnutls_x509_crt_list_import(chain, &n, &text, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
        if (r < 0)
                return problem(ret_problem, "%s holds no certificates in PEM: %s", path, gnutls_strerror(r));
        r = use_chain(c, path, chain, n, ret_problem);
        if (r >= 0 && gnutls_x509_crt_get_key_id(chain[0], GNUTLS_KEYID_USE_SHA256, ret_id, ret_id_size) < 0)
                r = problem(ret_problem, "the certificate in %s has a key that is not known.", path);
        for (unsigned i = 0; i < n; i++)
                gnutls_x509_crt_deinit(chain[i]);
        return r;
}

static int load_key(TlsCertificate *c, const char *path, uint8_t *ret_id, size_t *ret_id_size, char **ret_problem) {
        _cleanup_(datum_done) gnutls_datum_t text = {};
        gnutls_pubkey_t public;
        int r;

        r = load_file(path, &text, ret_problem);
        if (r < 0)
                return r;
        r = gnutls_privkey_init(&c->key);
        if (r >= 0)
                r = gnutls_privkey_import_x509_raw(c->key, &text, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (r < 0)
                return problem(ret_problem, "%s holds no key in PEM without a password: %s", path, gnutls_strerror(r));
        if (gnutls_pubkey_init(&public) < 0)
                return -ENOMEM;
        r = gnutls_pubkey_import_privkey(public, c->key, 0, 0);
        if (r >= 0)
                r = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, ret_id, ret_id_size);
        gnutls_pubkey_deinit(public);
        return r < 0 ? problem(ret_problem, "the key in %s is not of a known kind: %s", path, gnutls_strerror(r)) : 0;
}

int tls_load(Tls *t, const char *certificate_file, const char *key_file, char **ret_problem) {
        _cleanup_(tls_certificate_unrefp) TlsCertificate *c = NULL;
        uint8_t certified[KEY_ID_MAX], ours[KEY_ID_MAX];
        size_t certified_size = sizeof(certified), ours_size = sizeof(ours);
        int r;

        *ret_problem = NULL;
        c = calloc(1, sizeof(TlsCertificate));
        if (!c)
                return -ENOMEM;
        c->n_ref = 1;
        r = load_chain(c, certificate_file, certified, &certified_size, ret_problem);
        if (r >= 0)
                r = load_key(c, key_file, ours, &ours_size, ret_problem);
        if (r < 0)
                return r;
        if (certified_size != ours_size || memcmp(certified, ours, ours_size) != 0)
                return problem(ret_problem, "the key in %s is not that of the certificate in %s.", key_file, certificate_file);
        tls_certificate_unref(t->current);
        t->current = TAKE_PTR(c);
        return 0;
}

bool tls_is_ready(const Tls *t) {
        return t->current;
}

uint64_t tls_expires_usec(const Tls *t) {
        return t->current ? t->current->expires_usec : 0;
}

/* ---- use ---- */

/* The session's own pointer is libmicrohttpd's; that of a database of sessions, which there is not, is free. */
TlsCertificate *tls_attach(Tls *t, gnutls_session_t session) {
        if (!t->current || !session)
                return NULL;
        t->current->n_ref++;
        gnutls_db_set_ptr(session, t->current);
        return t->current;
}

int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *ca_names, int n_ca_names,
                 const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **ret_chain,
                 unsigned *ret_n_chain, gnutls_privkey_t *ret_key) {
        TlsCertificate *c = gnutls_db_get_ptr(session);

        if (!c)
                return -1;
        *ret_chain = c->chain;
        *ret_n_chain = c->n_chain;
        *ret_key = c->key;
        return 0;
}
