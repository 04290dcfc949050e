/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lets polkit ask for a password on this terminal, if there is one and somebody to be asked; before calls that
 * need a privilege, and before the pager has the terminal. May be called again. */
void agent_open(void);
void agent_close(void);
