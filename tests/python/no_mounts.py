"""Executes a program in a Landlock domain, in which nothing can be mounted, and everything else is allowed.

A host may allow namespaces and yet no mounts in them, as Ubuntu does for ordinary users.
"""

import ctypes
import os
import struct
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PR_SET_NO_NEW_PRIVS = 38
EXECUTE = 1
RULE_PATH_BENEATH = 1

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        sys.exit(f"no Landlock here: {os.strerror(ctypes.get_errno())}")
    return result


ruleset = check(libc.syscall(CREATE_RULESET, struct.pack("Q", EXECUTE), 8, 0))
root = os.open("/", os.O_PATH)
check(libc.syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", EXECUTE, root), 0))
check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
check(libc.syscall(RESTRICT_SELF, ruleset, 0))
os.close(ruleset)
os.close(root)
os.execvp(sys.argv[1], sys.argv[1:])
