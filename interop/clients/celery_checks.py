"""Celery against a broker: real workers, killed now and then, and every way to send a task."""

import datetime
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import celery
from celery import chain, group
from celery.exceptions import TaskRevokedError, TimeoutError as NotYet

from checks import RESTART, check, eventually, raises, restart, run, same

import celery_tasks as tasks

scratch = tempfile.mkdtemp(dir=os.environ.get("SCRATCH"))
app = tasks.app


class Worker:
    """A worker process of some queues."""

    def __init__(self, name, queues="celery.checks", concurrency=2):
        self.host = "%s@checks" % name
        self.log = open(os.path.join(scratch, name + ".log"), "ab")
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-m", "celery", "-A", "celery_tasks", "worker", "-n", self.host, "-Q", queues, "-c", str(concurrency), "-l", "INFO"],
            stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            eventually(self.ready, 60)
        except AssertionError:
            self.kill()
            print(open(self.log.name).read()[-4000:])
            raise

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError("the worker ended with %s" % self.process.returncode)
        return b" ready." in open(self.log.name, "rb").read()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # with the processes of its pool
            self.process.wait()
        self.log.close()

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)


def notes(path):
    return open(path).read().split("\n")[:-1] if os.path.exists(path) else []


def path(name):
    return os.path.join(scratch, name)


@check("a task and its result")
def _():
    same(tasks.add.delay(2, 3).get(timeout=20), 5)


@check("two hundred tasks and their results")
def _():
    same([r.get(timeout=30) for r in [tasks.add.delay(i, i) for i in range(200)]], [2 * i for i in range(200)])


@check("a task's exception is raised where its result is read")
def _():
    e = raises(ValueError, tasks.fails.delay().get, timeout=20)
    same(str(e), "no")


@check("states on the way are seen")
def _():
    result = tasks.steps.delay(3)
    seen = []
    same(result.get(timeout=20, on_message=lambda m: seen.append(m["status"])), 3)
    same(seen, ["PROGRESS"] * 3 + ["SUCCESS"])


@check("countdown and ETA: not before they are due")
def _():
    sent = time.time()
    by_countdown = tasks.when.apply_async(countdown=1)
    by_eta = tasks.when.apply_async(eta=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1))
    for result in (by_countdown, by_eta):
        assert result.get(timeout=20) - sent >= 1


@check("a task that asks for it is tried again")
def _():
    same(tasks.third_time.delay().get(timeout=20), 2)


@check("a task that expired before its turn is not run")
def _():
    result = tasks.note.apply_async((path("expired"), "x"), expires=datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1))
    raises(TaskRevokedError, result.get, timeout=20)
    same(notes(path("expired")), [])


@check("chains and groups")
def _():
    same(chain(tasks.add.s(1, 2), tasks.add.s(10), tasks.add.s(100))().get(timeout=20), 113)
    same(group(tasks.add.s(i, 1) for i in range(10))().get(timeout=20), list(range(1, 11)))


@check("signatures with links and with errors")
def _():
    done = path("linked")
    tasks.add.apply_async((1, 1), link=tasks.note.si(done, "linked"))
    tasks.fails.apply_async(link_error=tasks.note.si(done, "on error"))
    eventually(lambda: sorted(n.rsplit(" ", 1)[0] for n in notes(done) if n.startswith("done")) == ["done linked", "done on error"], 20)


@check("compression and other serializers")
def _():
    same(tasks.total.apply_async((list(range(5000)),), compression="gzip").get(timeout=20), sum(range(5000)))


@check("remote control: ping, inspection, a rate limit")
def _():
    same(app.control.ping(timeout=2), [{"main@checks": {"ok": "pong"}}])
    inspect = app.control.inspect(timeout=2)
    assert "celery_tasks.add" in inspect.registered()["main@checks"]
    same(sorted(q["name"] for q in inspect.active_queues()["main@checks"]), ["celery.checks"])
    same(inspect.stats()["main@checks"]["pool"]["max-concurrency"], 2)
    same(app.control.rate_limit("celery_tasks.when", "100/s", reply=True, timeout=2), [{"main@checks": {"ok": "new rate limit set successfully"}}])


@check("remote control: a queue is added and taken away")
def _():
    def control(verb, said):
        same(verb("celery.added", reply=True, timeout=20, destination=["main@checks"]), [{"main@checks": {"ok": said}}])

    control(app.control.add_consumer, "add consumer celery.added")
    same(tasks.add.apply_async((1, 1), queue="celery.added").get(timeout=20), 2)
    control(app.control.cancel_consumer, "no longer consuming from celery.added")
    inspect = app.control.inspect(timeout=1)  # the worker says that before it does it
    eventually(lambda: "celery.added" not in [q["name"] for q in inspect.active_queues()["main@checks"]])
    result = tasks.add.apply_async((1, 1), queue="celery.added")
    raises(NotYet, result.get, timeout=1)
    control(app.control.add_consumer, "add consumer celery.added")
    same(result.get(timeout=20), 2)
    control(app.control.cancel_consumer, "no longer consuming from celery.added")


@check("a revoked task does not run")
def _():
    result = tasks.note.apply_async((path("revoked"), "x"), countdown=2)
    app.control.revoke(result.id, reply=True, timeout=2)
    raises(TaskRevokedError, result.get, timeout=20)
    same(notes(path("revoked")), [])


@check("events of workers and tasks")
def _():
    got = []
    with app.connection() as conn:
        receiver = app.events.Receiver(conn, handlers={"*": lambda event: got.append(event["type"])})
        thread = threading.Thread(target=lambda: receiver_run(receiver))
        thread.start()
        time.sleep(0.5)
        tasks.add.delay(1, 1).get(timeout=20)
        eventually(lambda: {"task-received", "task-started", "task-succeeded", "worker-heartbeat"} <= set(got), 20)
        receiver.should_stop = True
        thread.join(10)


def receiver_run(receiver):
    try:
        receiver.capture(limit=None, timeout=5, wakeup=True)
    except OSError:
        pass


@check("priorities: the most urgent task first")
def _():
    done = path("urgent")
    for priority in (1, 9, 5):
        tasks.note.apply_async((done, str(priority)), queue="celery.urgent", priority=priority)
    with_worker("urgent", "celery.urgent", 1, lambda: eventually(lambda: len(notes(done)) == 6, 30))
    same([n.split()[1] for n in notes(done) if n.startswith("begun")], ["9", "5", "1"])


def with_worker(name, queues, concurrency, f):
    worker = Worker(name, queues, concurrency)
    try:
        return f()
    finally:
        worker.kill()


@check("acks_late: the task of a worker that was killed is run by another")
def _():
    done = path("late")
    worker = Worker("victim", "celery.late", 1)
    tasks.late.apply_async((done, "x", 2), queue="celery.late")
    eventually(lambda: notes(done), 20)
    worker.kill()
    with_worker("heir", "celery.late", 1, lambda: eventually(lambda: any(n.startswith("done") for n in notes(done)), 30))
    same([n.split()[0] for n in notes(done)], ["begun", "begun", "done"])


@check("acks_late: a worker's child that is killed does not lose its task", )
def _():
    done = path("child")

    def script():
        tasks.late.apply_async((done, "x", 2), queue="celery.late")
        eventually(lambda: notes(done), 20)
        os.kill(int(notes(done)[0].split()[2]), signal.SIGKILL)
        eventually(lambda: any(n.startswith("done") for n in notes(done)), 30)

    with_worker("parent", "celery.late", 1, script)


@check("a warm shutdown ends the task that runs, and leaves the others")
def _():
    done = path("warm")
    worker = Worker("warm", "celery.late", 1)
    for text in ("first", "second"):
        tasks.note.apply_async((done, text, 1), queue="celery.late")
    eventually(lambda: notes(done), 20)
    same(worker.stop(), 0)
    same([n.rsplit(" ", 1)[0] for n in notes(done)], ["begun first", "done first"])
    with_worker("next", "celery.late", 1, lambda: eventually(lambda: len(notes(done)) == 4, 30))


@check("the queue can be purged")
def _():
    for _ in range(3):
        tasks.add.apply_async((1, 1), queue="celery.late")
    with app.connection() as conn:
        eventually(lambda: conn.default_channel.queue_purge("celery.late") in (1, 2, 3))


@check("after kill -9 of the broker: tasks that waited are run, workers come back", needs=(RESTART,))
def _():
    done = path("killed")
    for i in range(5):
        tasks.note.apply_async((done, str(i)), countdown=2)
    restart()
    eventually(lambda: len({n.split()[1] for n in notes(done) if n.startswith("done")}) == 5, 60)


@check("after kill -9 of the broker: a worker answers who asks then", needs=(RESTART,))
def _():
    restart()
    # Who asked before does not get its results: Celery's rpc backend does not connect again, whatever the broker.
    asked = subprocess.run([sys.executable, "-B", "-c", "import celery_tasks as t; print(t.add.apply_async((4, 5), retry=True).get(timeout=50))"],
                           stdout=subprocess.PIPE, timeout=60, check=True)
    same(asked.stdout, b"9\n")


main = Worker("main")
try:
    run("Celery " + celery.__version__)
finally:
    main.kill()
