/* The C client with its ordinary header API: a message of six headers out, two of them read in.
 *
 *   core_c sub|pub url count kind rate
 */
#include <nats.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"

static const char *QUOTE =
    "{\"symbol\":\"BTC/USD\",\"bid\":40000.125,\"ask\":40001.125,\"bid_size\":1.5,\"ask_size\":0.25,"
    "\"timestamp\":\"2021-01-08T12:00:00Z\",\"sequence\":1,\"session\":\"20210108-1\","
    "\"source\":\"replay:benchmark\",\"feed_sequence\":null}";

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void check(natsStatus s, const char *what) {
    if (s == NATS_OK) return;
    fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(s));
    exit(1);
}

static int64_t expected;
static _Atomic int64_t received;
static int64_t *latencies;

static void take(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    (void)nc, (void)sub, (void)closure;
    const char *schema = NULL, *id = NULL;
    check(natsMsgHeader_Get(msg, "mts-schema", &schema), "mts-schema");
    check(natsMsgHeader_Get(msg, "Nats-Msg-Id", &id), "Nats-Msg-Id");
    int64_t n = received;
    if (latencies) latencies[n] = now_ns() - strtoll(id, NULL, 10);
    natsMsg_Destroy(msg);
    received = n + 1;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void subscribe(natsConnection *nc, const char *subject, double rate) {
    natsSubscription *sub = NULL;
    if (rate > 0) latencies = calloc((size_t)expected, sizeof *latencies);
    check(natsConnection_Subscribe(&sub, nc, subject, take, NULL), "subscribe");
    check(natsSubscription_SetPendingLimits(sub, -1, -1), "limits");
    check(natsConnection_Flush(nc), "flush");
    int64_t start = now_ns();
    double cpu = cpu_s();
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while (received < expected) usleep(200);
    printf("{\"start\": %lld, \"last\": %lld, \"cpu\": %f", (long long)start, (long long)now_ns(), cpu_s() - cpu);
    if (latencies) {
        int64_t warm = expected / 10, kept = expected - warm;
        qsort(latencies + warm, (size_t)kept, sizeof *latencies, ascending);
        printf(", \"p50\": %f, \"p99\": %f, \"p999\": %f", latencies[warm + (int64_t)(0.5 * (kept - 1))] / 1e6,
               latencies[warm + (int64_t)(0.99 * (kept - 1))] / 1e6, latencies[warm + (int64_t)(0.999 * (kept - 1))] / 1e6);
    }
    printf("}\n");
    natsSubscription_Destroy(sub);
}

static void publish(natsConnection *nc, const char *subject, double rate) {
    int64_t start = now_ns();
    double cpu = cpu_s();
    char id[32];
    for (int64_t n = 0; n < expected; n++) {
        if (rate > 0) {
            int64_t ahead = start + (int64_t)(n * 1e9 / rate) - now_ns();
            if (ahead > 0) {
                struct timespec pause = {ahead / 1000000000, ahead % 1000000000};
                nanosleep(&pause, NULL);
            }
        }
        natsMsg *msg = NULL;
        check(natsMsg_Create(&msg, subject, NULL, QUOTE, (int)strlen(QUOTE)), "message");
        snprintf(id, sizeof id, "%lld", (long long)now_ns());
        natsMsgHeader_Set(msg, "Nats-Msg-Id", id);
        natsMsgHeader_Set(msg, "mts-trace-id", TRACE);
        natsMsgHeader_Set(msg, "content-type", "application/json");
        natsMsgHeader_Set(msg, "mts-source-repo", "mts1b-marketdata");
        natsMsgHeader_Set(msg, "mts-schema", "mts1b_foundation.marketdata.Quote:v1");
        natsMsgHeader_Set(msg, "mts-actor", "crypto_dual_paper");
        check(natsConnection_PublishMsg(nc, msg), "publish");
        natsMsg_Destroy(msg);
    }
    check(natsConnection_Flush(nc), "flush");
    printf("{\"start\": %lld, \"last\": %lld, \"cpu\": %f}\n", (long long)start, (long long)now_ns(), cpu_s() - cpu);
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    natsConnection *nc = NULL;
    natsOptions *options = NULL;
    expected = strtoll(argv[3], NULL, 10);
    double rate = strtod(argv[5], NULL);
    check(natsOptions_Create(&options), "options");
    check(natsOptions_SetURL(options, argv[2]), "url");
    if (rate > 0) check(natsOptions_SetSendAsap(options, true), "send asap");
    check(natsConnection_Connect(&nc, options), "connect");
    if (strcmp(argv[1], "sub") == 0)
        subscribe(nc, "mts.v1.marketdata.quotes.*", rate);
    else
        publish(nc, "mts.v1.marketdata.quotes.BTC=2FUSD", rate);
    natsConnection_Destroy(nc);
    natsOptions_Destroy(options);
    nats_Close();
    return 0;
}
