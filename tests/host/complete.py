#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a shell offers for a command line, in a terminal, by its own key for all matches at once: complete.py bash|zsh
LINE FILE, where FILE has the completion (for zsh its directory is put into fpath). Prints the words of the line after
that, one a line."""

import os
import select
import sys
import time

shell, line, path = sys.argv[1:]
BEGIN = {
    "bash": (["bash", "--norc", "--noprofile", "-i"],
             f"bind 'set bell-style none'; source {path}\n", "\x1b*"),
    "zsh": (["zsh", "-f", "-i"],
            f"bindkey -e; unsetopt beep; zmodload zsh/complist; fpath=({os.path.dirname(path)} $fpath); autoload -Uz compinit;"
            " compinit -u -D; zle -C all complete-word _generic; bindkey '^Xa' all; "
            "zstyle ':completion:all:*' completer _all_matches _complete; zstyle ':completion:all:*' insert true\n", "\x18a"),
}
command, setup, key = BEGIN[shell]

pid, fd = os.forkpty()
if pid == 0:
    os.environ.update(PS1="", PS2="", TERM="dumb", INPUTRC="/dev/null")
    os.execvp(command[0], command)
output = b""


def until(text, seconds=30):
    global output
    end = time.monotonic() + seconds
    while text not in output:
        if time.monotonic() > end:
            sys.exit(f"{shell}: no {text!r} in {output[-500:]!r}")
        if select.select([fd], [], [], 0.2)[0]:
            output += os.read(fd, 65536)
    before, output = output.split(text, 1)
    return before


# The shell itself writes what was typed; what is looked for is written by printf.
os.write(fd, setup.encode() + b"printf '%s\\036\\n' ready\n")
until(b"ready\x1e")
os.write(fd, line.encode() + key.encode())
os.write(fd, b"\x01printf '<%s>\\n' \x05; printf 'the end\\036\\n'\n")
text = until(b"the end\x1e").decode(errors="replace").replace("\r", "")
print("\n".join(word[1:-1] for word in text.split("\n") if word.startswith("<") and word.endswith(">")))
os.kill(pid, 9)
