# SPDX-License-Identifier: LGPL-2.1-or-later
"""What functions do to directories of the host's; the others run the event as a script."""
import os


def handle(event, context):
    try:
        if event["do"] == "read":
            with open(event["path"], encoding="utf-8") as f:
                return f.read()
        if event["do"] == "append":
            with open(event["path"], "a", encoding="utf-8") as f:
                f.write(event["text"])
        elif event["do"] == "remove":
            os.unlink(event["path"])
        elif event["do"] == "set-id":
            # Each way there is of making such a file; a bit that was not asked for counts as none.
            done = []
            for way in (lambda p: os.open(p, os.O_CREAT | os.O_WRONLY, 0o2755),
                        lambda p: os.open(os.path.dirname(p), os.O_TMPFILE | os.O_WRONLY, 0o4755),
                        lambda p: os.mkdir(p, 0o2755),
                        lambda p: os.chmod(os.path.dirname(p) + "/mine", 0o2755),
                        lambda p: os.fchmod(os.open(os.path.dirname(p) + "/mine", os.O_CREAT | os.O_WRONLY, 0o755), 0o4755)):
                try:
                    way(event["path"])
                    done.append("done")
                except PermissionError:
                    done.append("refused")
            return " ".join(done)
        return "done"
    except OSError as e:
        return type(e).__name__
