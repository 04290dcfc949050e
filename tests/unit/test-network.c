/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The machines' network: who has which address, what the firewall is told, whom machines ask for names. */

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../daemons/hostd/network-resolv.h"
#include "../../daemons/hostd/network-rules.h"
#include "../../daemons/hostd/settings.h"

static NetworkPlan plan_of(const char *four) {
        NetworkPlan p = {};

        assert_int_equal(network_parse4(four, &p), 0);
        assert_int_equal(network_parse6("fd12:3456:789a::/64", &p), 0);
        return p;
}

static void test_prefixes(void **state) {
        static const char *const bad4[] = { "", "10.1.0.0", "10.1.0.0/", "10.1.0.0/7", "10.1.0.0/30", "10.1.0.1/16", "10.1.0.0/16x",
                                            "10.1.0.0/+16", "10.1.0.0/-1", "10.1/16", "fd00::/16", "10.1.0.0/16 " };
        static const char *const bad6[] = { "", "fd00::", "fd00::/48", "2001:db8::/64", "fd00::1/64", "10.0.0.0/64", "::/64" };
        NetworkPlan p = {};

        for (size_t i = 0; i < ELEMENTSOF(bad4); i++)
                assert_int_equal(network_parse4(bad4[i], &p), -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(bad6); i++)
                assert_int_equal(network_parse6(bad6[i], &p), -EINVAL);
        assert_int_equal(network_parse4("172.16.0.0/12", &p), 0);
        assert_int_equal(network_parse4("192.168.7.248/29", &p), 0);
        assert_int_equal(p.prefix4, 0xc0a807f8);
        assert_int_equal(p.length4, 29);
}

static void test_plan_is_read_as_written(void **state) {
        static const char *const bad[] = { "", "10.1.0.0/16", "10.1.0.0/16 fd00::/64 more", "fd00::/64 10.1.0.0/16" };
        NetworkPlan p = plan_of("10.201.0.0/16"), q = {};
        char text[NETWORK_TEXT_MAX];

        network_plan_format(&p, text, sizeof(text));
        assert_string_equal(text, "10.201.0.0/16 fd12:3456:789a::/64\n");
        assert_int_equal(network_plan_parse(text, &q), 0);
        assert_memory_equal(&p, &q, sizeof(p));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(network_plan_parse(bad[i], &q), -EINVAL);
}

static void test_identities(void **state) {
        NetworkPlan p = plan_of("10.201.0.0/16"), small = plan_of("192.168.7.248/29");
        char text[INET6_ADDRSTRLEN];
        NetworkIdentity id;
        unsigned n;

        assert_int_equal(network_identity(&p, 258, &id), 0);
        assert_string_equal(inet_ntop(AF_INET, &id.address4, text, sizeof(text)), "10.201.1.2");
        assert_string_equal(inet_ntop(AF_INET6, &id.address6, text, sizeof(text)), "fd12:3456:789a::102");
        assert_memory_equal(id.mac, ((uint8_t[]) { 0x02, 0x53, 10, 201, 1, 2 }), 6);

        /* neither the network's own address nor the one for all */
        assert_int_equal(network_machine_last(&p), 65534);
        assert_int_equal(network_machine_last(&small), 6);
        assert_int_equal(network_identity(&small, 6, &id), 0);
        assert_int_equal(network_identity(&small, 7, &id), -ERANGE);
        assert_int_equal(network_identity(&small, 0, &id), -ERANGE);

        assert_int_equal(network_number_parse("258\n", &n), 0);
        assert_int_equal(n, 258);
        assert_int_equal(network_number_parse("1\n", &n), -EINVAL); /* the host's */
        assert_int_equal(network_number_parse("-3", &n), -EINVAL);
        assert_int_equal(network_number_parse("3 4", &n), -EINVAL);
        assert_int_equal(network_number_parse("4294967296", &n), -EINVAL);
}

/* As nspawn 252 calls them; the long ones were read off a host's links. */
static void test_port_names(void **state) {
        char name[16];

        network_port_name("a", name);
        assert_string_equal(name, "vb-a");
        network_port_name("exactly-12ch", name);
        assert_string_equal(name, "vb-exactly-12ch");
        network_port_name("online-and-its-long-name", name);
        assert_string_equal(name, "vb-online-a3Jba");
}

static void test_rules(void **state) {
        char *dns[] = { (char *) "192.0.2.53", (char *) "2001:db8::53", NULL };
        char *deny[] = { (char *) "169.254.0.0/16", (char *) "fd00:ec2::254", NULL };
        char *lent[] = { (char *) "eth0", (char *) "eth1", (char *) "br0", NULL };
        NetworkMachine machines[] = { { .number = 2, .port = "vb-a" }, { .number = 3, .port = "vb-b" } };
        NetworkPlan p = plan_of("10.201.0.0/16");
        NetworkRules rules = { .plan = &p, .machines = machines, .n_machines = 2, .dns = dns, .deny = deny, .lent4 = lent };
        static const char *const parts[] = {
                "table inet sand\ndelete table inet sand\ntable bridge sand\ndelete table bridge sand\ntable inet sand {",
                "ip daddr { 169.254.0.0/16 } goto refuse\n", "ip6 daddr { fd00:ec2::254 } goto refuse\n",
                "th dport 53 ip daddr { 192.0.2.53 } accept\n", "th dport 53 ip6 daddr { 2001:db8::53 } accept\n",
                "\"vb-a\" . 02:53:0a:c9:00:02 . 10.201.0.2, \"vb-b\" . 02:53:0a:c9:00:03 . 10.201.0.3, }",
                "\"vb-b\" . 02:53:0a:c9:00:03 . fd12:3456:789a::3, }",
                "meta nfproto ipv4 iifname \"eth0\" oifname { \"eth1\", \"br0\" } drop\n",
                "meta nfproto ipv4 iifname \"br0\" oifname { \"eth0\", \"eth1\" } drop\n",
                "ip saddr != 10.201.0.0/16 drop\n", "ip6 saddr != fd12:3456:789a::/64 drop\n",
        };
        _cleanup_(freep) char *text = NULL, *least = NULL;

        assert_int_equal(network_rules(&rules, &text), 0);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (!strstr(text, parts[i]))
                        fail_msg("not in the rules: %s\n%s", parts[i], text);
        assert_null(strstr(text, "nfproto ipv6"));
        /* a name server may be link-local, as in clouds: it comes before what is denied */
        assert_true(strstr(text, "192.0.2.53") < strstr(text, "169.254.0.0/16"));

        rules = (NetworkRules) { .plan = &p };
        assert_int_equal(network_rules(&rules, &least), 0);
        assert_null(strstr(least, "elements"));
        assert_null(strstr(least, "{  }"));
        assert_null(strstr(least, "dport 53"));
}

static void check_resolv(const char *host, const char *resolved, char *const *dns, const char *expected, bool loopback_only) {
        _cleanup_(network_resolv_done) NetworkResolv r = {};
        const char *text;

        assert_int_equal(network_resolv(host, resolved, dns, "10.201.0.1", &r), 0);
        text = strchr(r.text, '\n') + 1; /* who wrote it */
        assert_string_equal(text, expected);
        assert_int_equal(r.loopback_only, loopback_only);
}

static void test_resolv(void **state) {
        const char *stub = "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
        char *dns[] = { (char *) "192.0.2.1", NULL };

        check_resolv("nameserver 192.0.2.53\n", NULL, NULL, "nameserver 192.0.2.53\n", false);
        check_resolv("search a.example b.example\n nameserver\t192.0.2.53 # x\noptions ndots:2\nnameserver 2001:db8::53\n", NULL,
                     NULL, "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.example b.example\noptions ndots:2\n", false);
        /* systemd-resolved: its own servers, not its stub */
        check_resolv(stub, "nameserver 192.0.2.53\nsearch lan\n", NULL, "nameserver 192.0.2.53\nsearch lan\n", false);
        /* its file is left over, or beside the point, when nobody asks the stub */
        check_resolv("nameserver 192.0.2.7\n", "nameserver 192.0.2.53\n", NULL, "nameserver 192.0.2.7\n", false);
        /* another resolver of the host */
        check_resolv("nameserver 127.0.0.1\n", NULL, NULL, "nameserver 10.201.0.1\n", true);
        check_resolv("nameserver ::1\nnameserver 127.0.0.1\n", "nameserver 192.0.2.53\n", NULL, "nameserver 10.201.0.1\n", true);
        check_resolv(stub, NULL, NULL, "nameserver 10.201.0.1\noptions edns0 trust-ad\nsearch .\n", true);
        check_resolv("nameserver 127.0.0.1\nnameserver 192.0.2.7\n", NULL, NULL, "nameserver 192.0.2.7\n", false);
        /* machines are on no link of the host's */
        check_resolv("nameserver fe80::1%eth0\nnameserver fe80::1\nnameserver 192.0.2.7\n", NULL, NULL, "nameserver 192.0.2.7\n", false);
        check_resolv("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n", NULL, NULL,
                     "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n", false);
        check_resolv("nameserver 192.0.2.53\nsearch lan\n", NULL, dns, "nameserver 192.0.2.1\nsearch lan\n", false);
        check_resolv("nameserver 127.0.0.1\n", NULL, dns, "nameserver 192.0.2.1\n", false);
        check_resolv(NULL, NULL, NULL, "", false);
        check_resolv("nameservers 1.1.1.1\nnameserver\nnameserver x\n", NULL, NULL, "", false);
}

static char **list(const char *a, const char *b) {
        char **l = NULL;

        assert_int_equal(strv_extend(&l, a), 0);
        if (b)
                assert_int_equal(strv_extend(&l, b), 0);
        return l;
}

/* What becomes part of a rule is an address and nothing else. */
static void test_settings_are_checked(void **state) {
        _cleanup_(settings_done) Settings good = {
                .network4 = strdup("10.9.0.0/24"), .network6 = strdup("fd01::/64"), .dns = list("192.0.2.1", "2001:db8::1"),
                .deny = list("10.0.0.0/8", "2001:db8::/32"),
        };
        _cleanup_(settings_done) Settings bad = {
                .network4 = strdup("10.9.0.0/30"), .network6 = strdup("2001:db8::/64"), .dns = list("192.0.2.1/32", "192.0.2.2"),
                .deny = list("0.0.0.0/0 } accept; #", "10.0.0.0/33"),
        };

        assert_int_equal(settings_check(&good), 0);
        assert_string_equal(good.network4, "10.9.0.0/24");
        assert_int_equal(strv_length(good.dns), 2);
        assert_int_equal(strv_length(good.deny), 2);
        assert_int_equal(settings_check(&bad), -EBADMSG);
        assert_null(bad.network4);
        assert_null(bad.network6);
        assert_int_equal(strv_length(bad.dns), 1);
        assert_string_equal(bad.dns[0], "192.0.2.2");
        assert_int_equal(strv_length(bad.deny), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_prefixes),
                cmocka_unit_test(test_plan_is_read_as_written),
                cmocka_unit_test(test_identities),
                cmocka_unit_test(test_port_names),
                cmocka_unit_test(test_rules),
                cmocka_unit_test(test_resolv),
                cmocka_unit_test(test_settings_are_checked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
