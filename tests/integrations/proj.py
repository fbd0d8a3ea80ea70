"""A Celery project that appends its events to a stream, by the line or by the setting that the environment asks for."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"])
app.conf.update(
    task_send_sent_event=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
if os.environ["PROJ_DURABLE"] == "line":
    import taskledger.integrations.durable

    taskledger.integrations.durable.install(app)
elif os.environ["PROJ_DURABLE"] == "setting":
    app.conf.update(imports=("taskledger.integrations.durable",), taskledger_durable_events=True)


@app.task
def double(number):
    return number * 2
