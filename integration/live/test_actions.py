"""Owns what a person asks of a running sink over HTTP: pause, resume, flush. Not the commands that do the same to the table (test_holes)."""

import requests

from .sink import Sink, json_table
from .test_holes import expire, filled, more
from .test_identities import newest, numbers


def post(sink: Sink, action: str, table: str = "events", **how) -> requests.Response:
    return requests.post(f"http://127.0.0.1:{sink.port}/api/v1/tables/{table}/{action}", timeout=60, **how)


def state(sink: Sink, name: str = "events") -> str:
    return next(table["state"] for table in sink.get("/api/v1/status").json()["tables"] if table["name"] == name)


def test_a_table_told_to_rest_commits_what_it_read_and_reads_no_more_until_it_is_told_to_go_on(kafka, folder, topic):
    kafka.create_topic(topic, 2)
    more(kafka, topic, 0, 100)
    sink = Sink(folder, kafka.bootstrap, json_table("events", topic, "n long", target_lag="10m"))
    with sink.start() as running:
        sink.wait_until(running, lambda: sink.get("/api/v1/status").json()["tables"][0]["buffered_rows"] == 100)
        # With a lag of minutes, nothing but the order makes a commit.
        assert post(sink, "flush").json() == {"table": "events", "done": "flush", "lifted": []}
        assert numbers(sink) == list(range(100))
        more(kafka, topic, 100, 50)
        sink.wait_until(running, lambda: sink.get("/api/v1/status").json()["tables"][0]["buffered_rows"] == 50)
        assert post(sink, "pause").ok and post(sink, "pause").ok
        assert numbers(sink) == list(range(150)) and state(sink) == "paused"
        assert sink.get("/readyz").status_code == 503 and "told to rest" in sink.get("/readyz").text
        more(kafka, topic, 150, 50)
        # Also one that takes topic partitions from it and gives them back does not wake it.
        other = Sink(folder / "other", kafka.bootstrap, json_table("events", topic, "n long"), url=sink.lake.as_uri())
        other.join(sink)
        with other.start() as second:
            other.wait_until(second, lambda: any(place["owned"] for place in other.get("/api/v1/status").json()["tables"][0]["topic_partitions"]))
            second.drain().expect(0)
        sink.wait_until(running, lambda: all(place["owned"] for place in sink.get("/api/v1/status").json()["tables"][0]["topic_partitions"]))
        assert state(sink) == "paused"
        already = len(numbers(sink))
        assert post(sink, "resume").ok
        sink.wait_until(running, lambda: sink.get("/api/v1/status").json()["tables"][0]["buffered_rows"] == 200 - already)
        assert post(sink, "flush").ok
        assert numbers(sink) == list(range(200)) and state(sink) == "running"
        assert post(sink, "flush", "nothing").status_code == 404 and post(sink, "explode").status_code == 404
        assert post(sink, "pause", headers={"Origin": "http://evil.example"}).status_code == 403
        running.drain().expect(0)
    sink.command("verify").expect(0)


def test_a_suspended_table_goes_on_by_a_post_as_by_the_command(kafka, folder, topic):
    sink = filled(kafka, folder, topic)
    more(kafka, topic, 1000, 50)
    expire(kafka, topic, 0, 120)
    # A second table keeps the process alive while the first is suspended.
    second = kafka.create_topic(f"{topic}-2", 1)
    sink.document["tables"].append({**sink.document["tables"][0], "name": "others", "topics": [second]})
    sink.write()
    with sink.start() as running:
        sink.wait_until(running, lambda: state(sink) == "suspended")
        refused = post(sink, "flush")
        assert refused.status_code == 409 and "offsets [100, 120) are gone" in refused.json()["error"]
        (lifted,) = post(sink, "resume").json()["lifted"]
        assert lifted.startswith(f"expired/{topic}/0/100-120: ")
        sink.wait_until(running, lambda: newest(sink)[0] == (0, 150))
        running.drain().expect(0)
    assert numbers(sink) == [*range(200), *range(1020, 1050)]
