/* Preloaded into wrk, which cannot present a client certificate: every TLS context that it makes has one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/ssl.h>

SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) {
    SSL_CTX *(*real)(const SSL_METHOD *) = (SSL_CTX *(*)(const SSL_METHOD *))dlsym(RTLD_NEXT, "SSL_CTX_new");
    SSL_CTX *made = real(method);
    if (made == NULL || SSL_CTX_use_certificate_chain_file(made, getenv("BENCH_CHAIN")) != 1 ||
        SSL_CTX_use_PrivateKey_file(made, getenv("BENCH_KEY"), SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "the client certificate cannot be used\n");
        exit(1);
    }
    return made;
}
