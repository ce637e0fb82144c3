"""Owns topics that a pattern finds, at the start and while the sink runs: which tables they feed, from where, and that nothing is lost, repeated or mixed whatever dies. Not the
grammar of patterns and templates (offline)."""

import io
import json
import random
import re
import signal
import time
from pathlib import Path

import fastavro
import pytest

from audit.audit import APP_ID, audit, read_log
from audit.compare import avro_record, json_record
from components.registry import confluent_prefix

from .load import Load
from .sink import Sink, avro_table, json_table
from .test_actions import state
from .test_bad_input import GIVE_UP, good
from .test_crash import SESSION
from .test_rebalance import PROTOCOLS

DDL = "n long, text string"
# Every half minute by default, which is longer than a scenario may take.
LOOK = {"topic.metadata.refresh.interval.ms": "500"}
KILLS = 6


def finding(name: str, prefix: str, rest: str = r"(.+)", ddl: str = DDL, **settings) -> dict:
    """A table, or the template of tables, over the topics that begin with a prefix."""
    table = json_table(name, "", ddl, **{"target_lag": "1s", **settings})
    del table["topics"]
    return {**table, "topics_regex": rf"^{re.escape(prefix)}\.{rest}$"}


def committed(table: Path) -> dict[tuple[str, int], int]:
    """The next offset of each topic partition, as the log says it."""
    try:
        log = read_log(table)
    except (FileNotFoundError, ValueError):
        return {}
    txns = dict(log.txns)
    for commit in log.commits:
        txns.update(commit.txns)
    matches = ((APP_ID.match(app), version) for app, version in txns.items())
    return {(match["topic"], int(match["partition"])): version for match, version in matches if match}


def ends(kafka, *topics: str) -> dict[tuple[str, int], int]:
    return {(topic, partition): end for topic in topics for partition, end in kafka.end_offsets(topic).items()}


def has(sink: Sink, kafka, name: str, *topics: str) -> bool:
    return committed(sink.table(name)) == ends(kafka, *topics)


def is_past(sink: Sink, name: str, offsets: dict[tuple[str, int], int]) -> bool:
    found = committed(sink.table(name))
    return all(found.get(at, -1) >= offset for at, offset in offsets.items())


def expect_exact(sink: Sink, kafka, name: str, *topics: str, compare=json_record, **how) -> int:
    report = audit(sink.table(name), kafka.dump(*topics), compare, **how)
    print(f"{name}: {report}", flush=True)
    assert report.is_clean, report
    return report.rows


def names(sink: Sink) -> set[str]:
    return {table["name"] for table in sink.get("/api/v1/status").json()["tables"]}


def test_each_topic_makes_a_table_and_one_that_appears_later_is_there_from_its_beginning(kafka, folder, topic):
    kafka.create_topic(f"{topic}.orders", 3)
    kafka.produce(f"{topic}.orders", good(100), 3)
    kafka.create_topic(f"{topic}-aside", 1)
    kafka.produce(f"{topic}-aside", good(10), 1)
    before = ends(kafka, f"{topic}.orders")
    # "latest" is for topics that are there at the first start: whatever comes later has never been read.
    sink = Sink(folder, kafka.bootstrap, finding("cdc_{1}", topic, start="latest", path="cdc/{table}"), properties=LOOK)
    assert "1 pattern of topics" in sink.command("validate").expect(0).stdout
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        kafka.produce(f"{topic}.orders", good(200, 100), 3)
        kafka.create_topic(f"{topic}.order-items", 2)
        kafka.produce(f"{topic}.order-items", good(300), 2)
        sink.wait_until(running, lambda: has(sink, kafka, "cdc/cdc_orders", f"{topic}.orders"))
        sink.wait_until(running, lambda: has(sink, kafka, "cdc/cdc_order_items", f"{topic}.order-items"))
        kafka.produce(f"{topic}.order-items", good(50, 300), 2)
        sink.wait_until(running, lambda: has(sink, kafka, "cdc/cdc_order_items", f"{topic}.order-items"))
        # What is found later is read, shown, counted and obeyed like the rest.
        assert names(sink) == {"cdc_orders", "cdc_order_items"}
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        assert 'lakeward_records_total{name="' in sink.get("/metrics").text and 'table="cdc_order_items"' in sink.get("/metrics").text
        running.drain().expect(0)
    # Made and filled while no sink ran.
    kafka.create_topic(f"{topic}.refunds", 1)
    kafka.produce(f"{topic}.refunds", good(40), 1)
    planned = json.loads(sink.command("plan", "--format", "json").expect(0).stdout)
    starts = {start["topic"]: start["offset"] for table in planned["tables"] if table["table"] == "cdc_refunds" for start in table["plan"]["starts"]}
    assert starts == {f"{topic}.refunds": 0}
    sink.until_caught_up().expect(0)
    rows = [
        expect_exact(sink, kafka, "cdc/cdc_orders", f"{topic}.orders", is_rejected=lambda at, _payload: at[2] < before.get((at[0], at[1]), 0)),
        expect_exact(sink, kafka, "cdc/cdc_order_items", f"{topic}.order-items"),
        expect_exact(sink, kafka, "cdc/cdc_refunds", f"{topic}.refunds"),
    ]
    assert rows == [200, 350, 40]
    # The other commands know the same tables.
    print(sink.command("validate", "--connect").expect(0).stdout)
    print(sink.command("verify", "--deep", "--against-kafka").expect(0).stdout)
    lags = json.loads(sink.command("offsets show", "--format", "json").expect(0).stdout)
    assert {row["table"] for row in lags} == {"cdc_orders", "cdc_order_items", "cdc_refunds"} and all(row["lag"] == 0 for row in lags), lags
    assert json.loads(sink.command("dlq list", "--table", "cdc_refunds", "--format", "json").expect(0).stdout)["records"] == 0
    assert "cdc_orders" in sink.command("maintain", "--dry-run").expect(0).stdout
    sink.command("resume", "--table", "cdc_orders").expect(0)
    sink.command("verify", "--table", "cdc_nobody").expect_error([2], "cdc_nobody", "cdc_orders")
    sink.until_caught_up("--table", "cdc_orders").expect(0)
    sink.until_caught_up("--table", "cdc_nobody").expect_error([2], "cdc_nobody", "cdc_orders")


def test_all_matching_topics_feed_one_table_also_beside_a_table_of_their_own(kafka, folder, topic):
    first, second, third = (f"{topic}.{name}" for name in ("eu", "us", "asia"))
    for name in (first, second):
        kafka.create_topic(name, 2)
        kafka.produce(name, good(100), 2)
    tables = finding("events", topic, start="latest"), json_table("of_eu", first, DDL, target_lag="2s")
    sink = Sink(folder, kafka.bootstrap, *tables, properties=LOOK)
    before = ends(kafka, first, second)
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        for number in range(3):
            kafka.produce(first, good(50, 100 + number * 50), 2)
        kafka.create_topic(third, 4)
        kafka.produce(third, good(500), 4)
        sink.wait_until(running, lambda: has(sink, kafka, "events", first, second, third))
        assert names(sink) == {"events", "of_eu"}
        running.drain().expect(0)
    kafka.produce(third, good(20, 500), 4)
    sink.until_caught_up().expect(0)
    old = lambda at, _payload: at[2] < before.get((at[0], at[1]), 0)  # noqa: E731
    assert expect_exact(sink, kafka, "events", first, second, third, is_rejected=old) == 150 + 520
    assert expect_exact(sink, kafka, "of_eu", first) == 250
    print(sink.command("verify", "--deep", "--against-kafka").expect(0).stdout)


def test_a_topic_that_appears_joins_tables_into_a_family_while_they_run(kafka, folder, topic):
    # Two patterns that had no topic in common so far: what comes now feeds both, so they read it together from here on.
    left, right, both = f"{topic}.a", f"{topic}.b", f"{topic}.ab"
    for name in (left, right):
        kafka.create_topic(name, 2)
        kafka.produce(name, good(100), 2)
    sink = Sink(folder, kafka.bootstrap, finding("left", topic, "ab?"), finding("right", topic, "a?b", target_lag="3s"), properties={**LOOK, **PROTOCOLS["cooperative"]})
    load = Load(kafka, left, 2, 500)
    load.payload = lambda number: (None, b'{"n": %d, "text": "x"}' % number)
    load.start()
    try:
        with sink.start() as running:
            sink.wait_until(running, lambda: has(sink, kafka, "right", right))
            kafka.create_topic(both, 3)
            kafka.produce(both, good(300), 3)
            sink.wait_until(running, lambda: has(sink, kafka, "right", right, both))
            kafka.produce(both, good(30, 300), 3)
            sink.wait_until(running, lambda: has(sink, kafka, "right", right, both))
            load.end()
            sink.wait_until(running, lambda: has(sink, kafka, "left", left, both))
            assert (state(sink, "left"), state(sink, "right")) == ("running", "running")
            running.drain().expect(0)
    finally:
        load.end()
    assert expect_exact(sink, kafka, "left", left, both) == 100 + load.count + 330
    assert expect_exact(sink, kafka, "right", right, both) == 430


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_two_instances_of_one_group_find_topics_under_load_and_lose_and_repeat_nothing(kafka, folder, topic, protocol):
    topics = [f"{topic}.{number}" for number in range(4)]
    kafka.create_topic(topics[0], 4)

    def instance(name: str, **how) -> Sink:
        properties = {key: value.format(instance=name) for key, value in PROTOCOLS[protocol].items()}
        ddl = "seq long, text string, amount decimal(9,2)"
        each, all_together = finding("each_{1}", topic, ddl=ddl), finding("all_together", topic, ddl=ddl)
        return Sink(folder / name, kafka.bootstrap, each, all_together, properties={**LOOK, **properties}, **how)

    first = instance("first")
    second = instance("second", url=first.lake.as_uri())
    second.join(first)
    loads = [Load(kafka, topics[0], 4, 500)]
    loads[0].start()
    try:
        with first.start() as stays:
            first.wait_until(stays, lambda: first.get("/readyz").ok)
            with second.start() as comes:
                for number, name in enumerate(topics[1:]):
                    kafka.create_topic(name, 4)
                    loads.append(Load(kafka, name, 4, 500))
                    loads[-1].start()
                    first.wait_until(stays, lambda: len(committed(first.table(f"each_{number + 1}"))) == 4)  # noqa: B023
                time.sleep(2)
                comes.drain().expect(0)
            # The one that stays goes on with everything that was found by either.
            so_far = ends(kafka, *topics)
            first.wait_until(stays, lambda: is_past(first, "all_together", so_far) and all(is_past(first, f"each_{number}", {at: end for at, end in so_far.items() if at[0] == name}) for number, name in enumerate(topics)))
            stays.drain().expect(0)
            said = stays.said()
    finally:
        for load in loads:
            load.end()
    first.until_caught_up(seconds_max=240).expect(0)
    print(f"\n[{protocol}] {sum(load.count for load in loads)} records, {said.count('the epoch ended at a commit')} epochs superseded")
    for number, (name, load) in enumerate(zip(topics, loads)):
        assert expect_exact(first, kafka, f"each_{number}", name) == load.count
    assert expect_exact(first, kafka, "all_together", *topics) == sum(load.count for load in loads)


def test_kill_9_while_topics_are_found_loses_and_repeats_nothing(kafka, folder, topic, seed):
    pick = random.Random(seed)
    sink = Sink(folder, kafka.bootstrap, finding("each_{1}", topic), finding("all_together", topic, target_lag="2s"), properties={**SESSION, "topic.metadata.refresh.interval.ms": "200"})
    topics: list[str] = []
    found = 0

    def another() -> None:
        partitions = pick.randint(1, 4)
        topics.append(kafka.create_topic(f"{topic}.{len(topics)}", partitions))
        kafka.produce(topics[-1], good(pick.randint(0, 400)), partitions)

    another()
    for number in range(KILLS):
        with sink.start() as running:
            if number % 2 == 0:
                # While it is at work: what was found comes into its tables, and the next is on its way.
                another()
                sink.wait_until(running, lambda: has(sink, kafka, "all_together", *topics))
                found += 1
            another()
            time.sleep(pick.uniform(0.0, 1.5))
            another()
            time.sleep(pick.uniform(0.0, 0.6))
            running.signal(signal.SIGKILL)
            assert running.wait(10).code == -signal.SIGKILL
    assert found == KILLS / 2
    sink.until_caught_up(seconds_max=240).expect(0)
    rows = {name: expect_exact(sink, kafka, f"each_{number}", name) for number, name in enumerate(topics)}
    assert expect_exact(sink, kafka, "all_together", *topics) == sum(rows.values())
    sink.command("verify", "--deep").expect(0)


def test_topics_that_differ_only_where_a_name_has_an_underscore_never_mix(kafka, folder, topic):
    dotted, dashed, other = f"{topic}.a.b", f"{topic}.a-b", f"{topic}.other"
    for name in (dotted, other):
        kafka.create_topic(name, 1)
        kafka.produce(name, good(10), 1)
    sink = Sink(folder, kafka.bootstrap, finding("cdc_{1}", topic), properties=LOOK)
    with sink.start() as running:
        sink.wait_until(running, lambda: has(sink, kafka, "cdc_a_b", dotted))
        kafka.create_topic(dashed, 1)
        kafka.produce(dashed, good(10), 1)
        # The newcomer is refused, and what runs goes on.
        sink.wait_until(running, lambda: "differ in characters only" in sink.get("/readyz").text)
        refused = sink.get("/api/v1/status").json()["refused_topics"]
        assert [(one["topic"], one["table"]) for one in refused] == [(dashed, "cdc_a_b")]
        kafka.produce(dotted, good(10, 10), 1)
        kafka.produce(other, good(10, 10), 1)
        sink.wait_until(running, lambda: has(sink, kafka, "cdc_a_b", dotted) and has(sink, kafka, "cdc_other", other))
        assert running.drain().expect(0).stderr.count("topic refused") <= 1
    # Also over a restart: the table's log says whose it is.
    kafka.produce(dotted, good(10, 20), 1)
    sink.until_caught_up().expect_error([5], "cdc_a_b", "differ in characters only", dashed)
    assert expect_exact(sink, kafka, "cdc_a_b", dotted) == 30
    assert "differ in characters only" in sink.command("plan").expect(5).stdout
    assert "differ in characters only" in sink.command("validate", "--connect").expect(5).stdout
    # And when the other one is gone, its records stay apart from those of its double.
    kafka.delete_topic(dotted)
    deadline = time.monotonic() + 30
    while dotted in kafka.admin.list_topics(timeout=5).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    sink.until_caught_up().expect_error([5], "cdc_a_b", "is fed by topic", dotted)
    # Nobody fed it yet: neither begins.
    fresh = Sink(folder / "fresh", kafka.bootstrap, finding("cdc_{1}", topic))
    kafka.create_topic(f"{topic}.c.d", 1)
    kafka.create_topic(f"{topic}.c-d", 1)
    fresh.until_caught_up().expect_error([5], "cdc_c_d", f"{topic}.c-d", f"{topic}.c.d")
    assert not fresh.table("cdc_c_d").exists() and fresh.table("cdc_other").exists()


def test_a_pattern_without_topics_waits_and_says_so(kafka, folder, topic):
    sink = Sink(folder, kafka.bootstrap, finding("cdc_{1}", topic), properties=LOOK)
    pattern = sink.document["tables"][0]["topics_regex"]
    sink.until_caught_up(*GIVE_UP).expect_error([3], "no topic matches", pattern, "topics_regex")
    sink.command("verify").expect_error([3], "no topic matches", pattern)
    with sink.start() as running:
        sink.wait_until(running, lambda: "no topic matches" in sink.get("/readyz").text)
        assert sink.get("/readyz").status_code == 503 and pattern in sink.get("/readyz").text
        time.sleep(3)
        kafka.create_topic(f"{topic}.orders", 2)
        kafka.produce(f"{topic}.orders", good(100), 2)
        sink.wait_until(running, lambda: has(sink, kafka, "cdc_orders", f"{topic}.orders"))
        ended = running.drain().expect(0)
    assert (ended.stdout + ended.stderr).count("no topic matches") == 1
    assert expect_exact(sink, kafka, "cdc_orders", f"{topic}.orders") == 100


def test_a_topic_whose_schema_is_not_registered_yet_holds_up_no_other(kafka, registry, folder, topic):
    ready, early, later = (f"{topic}.{name}" for name in ("ready", "early", "later"))
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}
    parsed = fastavro.parse_schema(schema)

    def fill(name: str, count: int) -> None:
        prefix = confluent_prefix(registry.register(f"{name}-value", schema))

        def encoded(number: int) -> bytes:
            out = io.BytesIO()
            fastavro.schemaless_writer(out, parsed, {"n": number})
            return prefix + out.getvalue()

        kafka.produce(name, [encoded(number) for number in range(count)], 1)

    kafka.create_topic(ready, 1)
    kafka.create_topic(early, 1)
    fill(ready, 100)
    table = avro_table("cdc_{1}", "", target_lag="1s")
    del table["topics"]
    table["topics_regex"] = rf"^{re.escape(topic)}\.(.+)$"
    sink = Sink(folder, kafka.bootstrap, table, registry=registry.url, properties=LOOK)
    with sink.start() as running:
        sink.wait_until(running, lambda: has(sink, kafka, "cdc_ready", ready))
        assert state(sink, "cdc_early") == "suspended" and f"{early}-value" in sink.get("/readyz").text
        kafka.create_topic(later, 1)
        sink.wait_until(running, lambda: "cdc_later" in names(sink) and state(sink, "cdc_later") == "suspended")
        fill(early, 20)
        fill(later, 30)
        sink.wait_until(running, lambda: has(sink, kafka, "cdc_early", early) and has(sink, kafka, "cdc_later", later))
        sink.wait_until(running, lambda: sink.get("/readyz").ok)
        running.drain().expect(0)
    compare = avro_record(schema, 5)
    assert [expect_exact(sink, kafka, f"cdc_{name}", f"{topic}.{name}", compare=compare) for name in ("ready", "early", "later")] == [100, 20, 30]


def test_a_topic_that_is_deleted_takes_nothing_with_it(kafka, folder, topic):
    stays, goes = f"{topic}.stays", f"{topic}.goes"
    for name in (stays, goes):
        kafka.create_topic(name, 2)
        kafka.produce(name, good(100), 2)
    sink = Sink(folder, kafka.bootstrap, finding("each_{1}", topic), finding("all_together", topic), properties=LOOK)
    with sink.start() as running:
        sink.wait_until(running, lambda: has(sink, kafka, "all_together", stays, goes) and has(sink, kafka, "each_goes", goes))
        kafka.delete_topic(goes)
        kafka.produce(stays, good(50, 100), 2)
        sink.wait_until(running, lambda: is_past(sink, "all_together", ends(kafka, stays)) and is_past(sink, "each_stays", ends(kafka, stays)))
        time.sleep(2)
        kafka.produce(stays, good(50, 150), 2)
        sink.wait_until(running, lambda: is_past(sink, "all_together", ends(kafka, stays)) and is_past(sink, "each_stays", ends(kafka, stays)))
        running.drain().expect(0)
    kafka.produce(stays, good(10, 200), 2)
    sink.until_caught_up().expect(0)
    assert expect_exact(sink, kafka, "each_stays", stays) == 210
    sink.command("verify", "--deep").expect(0)
