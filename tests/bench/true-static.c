/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a container runs that is to be nothing but a container. */

int main(void) {
        return 0;
}
