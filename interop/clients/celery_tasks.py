"""The tasks that celery_checks.py sends to workers of its own."""

import os
import time

from celery import Celery
from kombu import Exchange, Queue

app = Celery("checks", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    result_persistent=False,
    result_expires=3600,
    task_default_queue="celery.checks",
    task_queues=[
        Queue("celery.checks", Exchange("celery.checks"), "celery.checks"),
        Queue("celery.urgent", Exchange("celery.urgent"), "celery.urgent", queue_arguments={"x-max-priority": 10}),
        Queue("celery.late", Exchange("celery.late"), "celery.late"),
    ],
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_send_sent_event=True,
    broker_connection_retry=True,
    broker_heartbeat=4,
    broker_transport_options={"confirm_publish": True},  # or a task that was just sent may be lost with the broker
    worker_cancel_long_running_tasks_on_connection_loss=False,
)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def when():
    return time.time()


@app.task(bind=True, max_retries=5)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def fails():
    raise ValueError("no")


@app.task
def note(path, text, seconds=0):
    """Writes that it began, works, and writes that it is done."""
    with open(path, "a") as f:
        f.write("begun %s %d\n" % (text, os.getpid()))
    time.sleep(seconds)
    with open(path, "a") as f:
        f.write("done %s %d\n" % (text, os.getpid()))
    return text


@app.task(acks_late=True, reject_on_worker_lost=True)
def late(path, text, seconds):
    return note(path, text, seconds)


@app.task(bind=True)
def steps(self, n):
    for i in range(n):
        self.update_state(state="PROGRESS", meta={"step": i})
    return n
