"""What the programs of this folder have in common: checks that are counted.

A check is a function; it fails by an exception. AMQP_URL is the broker. RESTART, if it is
set, is a program that ends the broker by kill -9 and starts it again; RABBITMQCTL, if it is
set, is a rabbitmqctl for it. Checks that need one of them are left out where it is missing,
and BATON_ONLY ones where the broker is another.
"""

import os
import subprocess
import sys
import time
import traceback

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
RESTART = os.environ.get("RESTART")
RABBITMQCTL = os.environ.get("RABBITMQCTL")
BATON = os.environ.get("BROKER", "baton") == "baton"

_all = []


def check(requirement, needs=()):
    """Registers a check: the text says what has to hold."""

    def add(f):
        _all.append((requirement, needs, f))
        return f

    return add


def run(client):
    """Runs all checks in order, prints a line for each that fails, and the score."""
    only = sys.argv[1:]
    passed, failed, left = 0, [], []
    for requirement, needs, f in _all:
        if only and not any(o in requirement for o in only):
            continue
        if not all(needs):
            left.append(requirement)
            continue
        begun = time.monotonic()
        try:
            f()
            passed += 1
            if os.environ.get("VERBOSE"):
                print("ok    %s: %s (%.1f s)" % (client, requirement, time.monotonic() - begun), flush=True)
        except Exception:  # noqa: BLE001 - whatever it is, the check has failed
            failed.append(requirement)
            print("FAIL  %s: %s" % (client, requirement))
            traceback.print_exc(limit=-3, file=sys.stdout)
    for requirement in left:
        print("left out  %s: %s" % (client, requirement))
    print("%s: %d of %d checks passed" % (client, passed, passed + len(failed)))
    sys.stdout.flush()
    sys.exit(1 if failed else 0)


def restart():
    subprocess.run([RESTART], check=True, timeout=60)


def ctl(*args):
    subprocess.run([RABBITMQCTL, "-q", *args], check=True, timeout=60, stdout=subprocess.DEVNULL)


def eventually(f, seconds=10):
    """Waits until f returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        got = f()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("not within %s s: %s" % (seconds, f))
        time.sleep(0.02)


def raises(kind, f, *args, **kwargs):
    """Returns the exception that f raises, which is one of the kind."""
    try:
        f(*args, **kwargs)
    except kind as e:
        return e
    raise AssertionError("%s raised nothing, want %s" % (f, kind))


def same(got, want):
    if got != want:
        raise AssertionError("got %r, want %r" % (got, want))
