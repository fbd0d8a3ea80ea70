"""What searches find, on every database."""

import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from stories import TASK, decoded, failed, retried_twice

from taskledger.errors import QueryError
from taskledger.ledger import schema
from taskledger.ledger.labels import Kind
from taskledger.ledger.search import condition, id_begins, parse
from taskledger.ledger.search.condition import MAX_NAMES
from taskledger.states import State
from taskledger.tasks import project

#: 2026-11-22 12:00:00 UTC
NOW_AT = 1_795_348_800_000_000
HOUR = 3_600_000_000
CHARGE, MAIL, REPORT = (f"{start}-c65a-44d1-931b-75c051faf4e8" for start in ("2a3cf87e", "2a3c0000", "b0b0cafe"))
#: ids that are no UUIDs; the last ones are packed with other marks, or look like the first bytes of UUIDs
ORDER, FIFTEEN, ODD = "order-4187", "fifteen-chars-x", "0061abcd-c65a-44d1-931b-75c051faf4e8"
TASKS = {CHARGE: "charge", MAIL: "mail", REPORT: "report", ORDER: "order", FIFTEEN: "fifteen", ODD: "odd"}


def label_ids(ledger):
    named = {
        "default": Kind.CLUSTER,
        "eu": Kind.CLUSTER,
        "billing.charge": Kind.NAME,
        "billing.charge_all": Kind.NAME,
        "mail.send": Kind.NAME,
        "Äpfel.zählen": Kind.NAME,
        "billing": Kind.QUEUE,
        "mail": Kind.QUEUE,
        "w1@vm": Kind.HOST,
        "w2@vm": Kind.HOST,
        "gen7@web": Kind.HOST,
    }
    numbers = ledger.labels.intern([(kind, value) for value, kind in named.items()])
    return {value: numbers[int(kind), value] for value, kind in named.items()}


def task_row(task_id, label, **more):
    row = dict.fromkeys(column.name for column in schema.task.columns)
    row |= {"id": task_id, "cluster_id": label["default"], "state": State.PENDING, "first_at": NOW_AT - HOUR}
    return row | {"events": 1, "runs": 0} | more


def run_row(task_id, label, number, **more):
    row = dict.fromkeys(column.name for column in schema.run.columns)
    row |= {"task_id": task_id, "cluster_id": label["default"], "number": number, "state": State.SUCCESS}
    return row | more


def task_rows(label):
    failed = {"state": State.FAILURE, "exception": "ConnectionError('100% of_hosts refused!')"}
    return [
        task_row(CHARGE, label, name_id=label["billing.charge"], queue_id=label["billing"], **failed)
        | {"worker_id": label["w1@vm"], "client_id": label["gen7@web"], "retries": 2, "runs": 3, "runtime_s": 2.5}
        | {"args": "(4187,)", "kwargs": "{'order': 6987, 'note': \"it's\", 'card': 'VISA gold'}", "wait_s": 0.0}
        | {"sent_at": NOW_AT - 2 * HOUR, "ended_at": NOW_AT - HOUR},
        task_row(MAIL, label, name_id=label["mail.send"], queue_id=label["mail"], state=State.SUCCESS)
        | {
            "worker_id": label["w2@vm"],
            "result": "'sent to Jörg'",
            "kwargs": "{'order': '69', 'to': 'x'}",
            "args": "()",
        }
        | {"runtime_s": 0.5, "wait_s": 31.0, "root_id": CHARGE, "parent_id": CHARGE, "started_at": NOW_AT - HOUR},
        task_row(REPORT, label, name_id=label["billing.charge_all"], state=State.STARTED, runs=1, result="None"),
        task_row(ORDER, label, eta_at=NOW_AT + HOUR, cluster_id=label["eu"], args="()", kwargs="{}"),
        task_row(FIFTEEN, label, state=State.RECEIVED, expires_at=NOW_AT - HOUR),
        task_row(ODD, label, name_id=label["Äpfel.zählen"], state=State.REVOKED),
    ]


def run_rows(label):
    trace = 'File "/srv/app/proj.py", line 35, in charge\n    raise ConnectionError(100 % x)'
    return [
        run_row(CHARGE, label, 1, state=State.RETRY, worker_id=label["w2@vm"], pid=100, exception="Retry('in 3 s')"),
        run_row(CHARGE, label, 2, state=State.FAILURE, worker_id=label["w1@vm"], pid=200, traceback=trace)
        | {"exception": "ConnectionError('100% of_hosts refused!')", "fingerprint": bytes.fromhex("ab12" * 8)},
        run_row(MAIL, label, 1, worker_id=label["w2@vm"], pid=300),
        run_row(ODD, label, 1, state=State.REVOKED, note="terminated; expired"),
        # The same id in another cluster is another task.
        run_row(MAIL, label, 1, cluster_id=label["eu"], pid=999, traceback="elsewhere"),
    ]


@pytest.fixture
def stocked(ledger):
    """Six tasks of different fates."""
    label = label_ids(ledger)
    with ledger.write() as connection:
        connection.execute(schema.task.insert(), task_rows(label))
        connection.execute(schema.run.insert(), run_rows(label))
    return ledger


def found(ledger, text):
    """The names in TASKS of the tasks that a search finds, sorted, in one text."""
    where = condition(parse(text, now_at=NOW_AT, zone=ZoneInfo("UTC")), ledger.labels)
    with ledger.read() as connection:
        return " ".join(sorted(TASKS[row.id] for row in connection.execute(select(schema.task.c.id).where(where))))


EVERYTHING = "charge fifteen mail odd order report"
FINDS = {
    # words: the name, the id, the texts of the task and of its runs, in any case
    "CHARGE": "charge report",
    "billing.charge_all": "report",
    "4187": "charge",
    "visa": "charge",
    "refused": "charge",
    "'sent": "mail",
    '"proj.py\\", line 35"': "charge",
    'File "/srv/app/proj.py", line 35, in charge': "charge",
    "retry('in": "charge",
    "elsewhere": "",
    "2a3c": "charge mail",
    "2a3cf": "charge",
    "2a3cf87e-c6": "charge",
    "2A3CF87EC65A": "charge",
    "2a3-cf87": "",
    "2a3": "",
    "order-4": "order",
    "fifteen-chars": "fifteen",
    "fifteen-chars-x": "fifteen",
    CHARGE: "charge",
    CHARGE.upper(): "charge",
    f'"{CHARGE}"': "charge",
    # what LIKE takes for something else
    "100%": "charge",
    "%": "charge",
    "of_hosts": "charge",
    "ofxhosts": "",
    "refused!": "charge",
    "s%t": "",
    # and, or, not: what is not known does not match, and its opposite does
    "charge refused": "charge",
    "refused OR jörg": "charge mail",
    "-charge": "fifteen mail odd order",
    "NOT (charge OR mail.send)": "fifteen odd order",
    "-queue:mail": "charge fifteen odd order report",
    "-queue:*": "fifteen odd order report",
    "-runtime:>1s": "fifteen mail odd order report",
    "NOT NOT queue:mail": "mail",
    "-(queue:mail OR queue:billing)": "fifteen odd order report",
    "-nowhere": EVERYTHING,
    # names: whole where there is such a one, else in part; globs; in quotes only whole
    "name:billing.charge": "charge",
    "name:BILLING.charge": "charge",
    "name:billing": "charge report",
    'name:"billing"': "",
    'name:"billing.charge"': "charge",
    "name:billing.*": "charge report",
    "name:*charge": "charge",
    "name:billing?charge": "charge",
    "name:*.*_*l": "report",
    "name:mail.send,billing.charge": "charge mail",
    "name:nothing": "",
    "name:äpfel.ZÄHLEN": "odd",
    "queue:mail,billing": "charge mail",
    "worker:w1@vm": "charge",
    "worker:w2@vm": "charge mail",
    "worker:vm": "charge mail",
    "worker:*": "charge mail",
    "client:gen*": "charge",
    "cluster:eu": "order",
    # states, in our words and in Celery's
    "state:failed": "charge",
    "state:FAILURE,success": "charge mail",
    "state:sent": "order",
    "state:running": "report",
    "-state:failed,succeeded": "fifteen odd order report",
    # ids
    "id:2a3c": "charge mail",
    "id:2a3*": "charge mail",
    "id:2a3c0000-": "mail",
    "id:ord": "order",
    "id:order-4187": "order",
    "id:fif": "fifteen",
    "id:a": "",
    "id:006": "odd",
    "id:fifteen-chars-xy": "",
    f"root:{CHARGE}": "mail",
    "parent:2a3cf87e": "mail",
    f"id:{CHARGE},{MAIL}": "charge mail",
    # texts
    "args:4187": "charge",
    "args:(4187,)": "charge",
    "exc:refused": "charge",
    "exc:connection*REFUSED": "charge",
    "exc:refused*connection": "",
    "exc:retry": "charge",
    "trace:proj.py": "charge",
    "exc:proj.py": "",
    "error:proj.py": "charge",
    "error:retry": "charge",
    "result:jörg": "mail",
    "kwargs:order=6987": "charge",
    "kwargs:order=69": "mail",
    "kwargs:order=698": "",
    "kwargs:order=69*": "charge mail",
    "kwargs:card=visa": "",
    'kwargs:card="visa gold"': "charge",
    "kwargs:note=it's": "charge",
    "kwargs:to=X": "mail",
    "kwargs:'order'": "charge mail",
    "fp:ab12": "charge",
    f"fp:{'ab12' * 8}": "charge",
    "fp:ab13": "",
    # numbers, durations and times
    "pid:100": "charge",
    "pid:100,300": "charge mail",
    "pid:>200": "mail",
    "pid:999": "",
    "retries:2": "charge",
    "retries:>1": "charge",
    "retries:0..1": "",
    "runs:>1": "charge",
    "runs:1..": "charge report",
    "runtime:>2s": "charge",
    "runtime:<=500ms": "mail",
    "wait:>=30s": "mail",
    "wait:>0": "mail",
    "wait:0s..1s": "charge",
    "sent:-3h": "charge",
    "sent:-1h": "",
    "sent:today": "charge",
    "sent:2026-11-21": "",
    "finished:-2h..-30m": "charge",
    "finished:-2h..-1h": "",
    "started:>=2026-11-22T11:00": "mail",
    "started:>2026-11-22T11:00": "",
    "first:sun": EVERYTHING,
    "received:today": "",
    # flags
    "is:retried": "charge",
    "is:child": "mail",
    "is:root": "charge fifteen odd order report",
    "is:scheduled": "order",
    "is:expired": "fifteen odd",
    "is:running": "report",
    "is:done": "charge mail odd",
    "-is:done": "fifteen order report",
    "has:error": "charge",
    "has:traceback": "charge",
    "has:result": "mail",
    "has:args": "charge mail",
    "has:eta": "order",
    "-has:traceback": "fifteen mail odd order report",
}


def test_searches_find_what_they_say(stocked):
    """Each search finds exactly the tasks that it describes, the same on each database."""
    assert {text: found(stocked, text) for text in FINDS} == FINDS


@pytest.mark.parametrize("story", [failed(), retried_twice()], ids=["failed", "retried"])
def test_only_tasks_with_an_exception_have_runs_with_one(story):
    """A task keeps the exception of its runs, so a search need not look at the runs of the others."""
    task = project(TASK, decoded(*story))

    assert any(run.traceback for run in task.runs)
    assert task.exception


def test_every_letter_finds_itself(stocked):
    """A text is found by itself, whatever letters it is made of and whatever the database's lower() knows."""
    label = label_ids(stocked)
    with stocked.write() as connection:
        connection.execute(schema.task.delete())
        connection.execute(schema.task.insert(), [task_row(ORDER, label, result="ÄÖÜ ŞŒ ẞ 猫 🐈 İ \\ ! _ % \" ' ;--")])
    texts = ["ÄÖÜ", "ŞŒ", "ẞ", "猫", "🐈", "İ", "\\", "!", "_", "%", r"\"", "'", ";--"]

    assert [found(stocked, f'result:"{text}"') for text in texts if text != "\\"] == ["order"] * (len(texts) - 1)
    assert found(stocked, r'result:"\\"') == "order"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30),
        st.text("%_!\\*?'\"();-x", min_size=1, max_size=30),
    ).map(lambda text: text.replace("\\", "\\\\").replace('"', '\\"')),
    st.sampled_from(["", "name:", "exc:", "kwargs:k=", "id:", "error:*"]),
)
def test_no_value_is_too_hostile(stocked, text, field):
    """Any text can be searched for: it is a value, never a part of the SQL, and its opposite finds other tasks."""
    both = set(found(stocked, f'{field}"{text}"').split()) & set(found(stocked, f'-{field}"{text}"').split())

    assert both == set()


def test_the_largest_search_runs(stocked):
    """A search of as many words as the language allows is one that each database takes."""
    assert found(stocked, " OR ".join(f"word{number}" for number in range(64))) == ""
    assert found(stocked, " ".join(f"-word{number}" for number in range(64))) == EVERYTHING


def test_ids_that_begin_alike(stocked):
    """The beginning of an id finds all ids that begin so, and one of fewer than four characters none."""
    with stocked.read() as connection:
        ids = [
            {row.id for row in connection.execute(select(schema.task.c.id).where(id_begins(text)))}
            for text in ("2a3c", "2a3", "orde", "2a3cf87e")
        ]

    assert ids == [{CHARGE, MAIL}, set(), {ORDER}, {CHARGE}]


class ManyNames:
    """A label table in which every name is there ten thousand times."""

    def ids(self, kind, matches):
        return list(range(MAX_NAMES))


def test_a_search_for_too_many_names_is_refused():
    """A search that stands for more names than a database can take in one question asks to be more precise."""
    fits, exceeds = (parse(text, now_at=0, zone=ZoneInfo("UTC")) for text in ("name:a*", "x OR client:b*"))
    condition(fits, ManyNames())

    with pytest.raises(QueryError, match=re.escape("'client:b*' stands for too many different names")) as caught:
        condition(exceeds, ManyNames())

    assert caught.value.position == 5


def test_a_glob_cannot_be_slow(sqlite_ledger):
    """A pattern of many stars is matched against a long name in no time that anybody would notice."""
    sqlite_ledger.labels.intern([(Kind.NAME, "a" * 512)])
    where = parse("name:" + "*a" * 8 + "b", now_at=0, zone=ZoneInfo("UTC"))

    assert "name_id" not in str(condition(where, sqlite_ledger.labels))


def plan_of(ledger, query):
    """What SQLite says it will do for a question."""
    sent = []
    with ledger.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *about: sent.append(about[2:4]))
        connection.execute(query)
        statement, values = sent[-1]
        return " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("id:2a3cf8", "sqlite_autoindex_task_1"),
        (CHARGE, "sqlite_autoindex_task_1"),
        ("state:failed", "ix_task_state_first_at"),
        ("name:billing.charge", "ix_task_name_id_first_at"),
        ("fp:ab12", "ix_run_fingerprint_ended_at"),
        ("refused", "ix_task_first_at"),
    ],
)
def test_a_search_within_a_span_uses_an_index(sqlite_ledger, text, index):
    """Ids, states, names and fingerprints are found by index, and all else looks only at the span."""
    label_ids(sqlite_ledger)
    where = condition(parse(text, now_at=NOW_AT, zone=ZoneInfo("UTC")), sqlite_ledger.labels)
    columns = schema.task.c
    query = select(columns.id).where(columns.first_at >= NOW_AT - 24 * HOUR, columns.first_at < NOW_AT, where)

    assert index in plan_of(sqlite_ledger, query.order_by(columns.first_at.desc()).limit(50))
