"""Agent over confluent-kafka (librdkafka)."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import agent


class Agent:
    def __init__(self, bootstrap):
        self.common = {
            "bootstrap.servers": bootstrap,
            "broker.address.family": "v4",
            "reconnect.backoff.max.ms": 500,
            "log_level": 2,
        }
        self.producers = {}
        self.consumers = {}

    def create(self, topic, partitions, configs):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=configs)
        admin = AdminClient(self.common)  # held: its futures end with it
        for future in admin.create_topics([new]).values():
            future.result(30)

    def partitions(self, topic):
        admin = AdminClient(self.common)
        found = admin.list_topics(topic, timeout=20).topics[topic]
        return {"partitions": len(found.partitions)}

    def producer(self, codec):
        if codec not in self.producers:
            self.producers[codec] = Producer(self.common | {
                "enable.idempotence": True,
                "compression.type": codec,
                "linger.ms": 5,
                "message.max.bytes": 10_000_000,
                "message.timeout.ms": 60_000,
            })
        return self.producers[codec]

    def produce(self, topic, codec, records):
        producer = self.producer(codec)
        delivered = [None] * len(records)
        for index, record in enumerate(records):
            def report(error, message, index=index):
                delivered[index] = error or message.offset()
            optional = {"timestamp": record["timestamp"]} if record.get("timestamp") is not None else {}
            producer.produce(
                topic,
                partition=record["partition"],
                key=agent.raw(record["key"]),
                value=agent.raw(record["value"]),
                headers=[(name, agent.raw(value)) for name, value in record["headers"]],
                on_delivery=report,
                **optional,
            )
            producer.poll(0)
        producer.flush(60)
        for outcome in delivered:
            if isinstance(outcome, KafkaError):
                raise KafkaException(outcome)
        return {"offsets": delivered}

    def consumer(self, **settings):
        consumer = Consumer(self.common | {
            "group.id": "agent-without-group",
            "enable.auto.commit": False,
            "enable.auto.offset.store": True,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 500,
            "fetch.message.max.bytes": 10_000_000,
        } | settings)
        handle = len(self.consumers)
        self.consumers[handle] = consumer
        return handle, consumer

    def open(self, topic, partition, **where):
        handle, consumer = self.consumer()
        start = where["from"]
        if start == "beginning":
            offset = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[0]
        elif start == "end":
            offset = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[1]
        elif "offset" in start:
            offset = start["offset"]
        else:
            asked = TopicPartition(topic, partition, start["timestamp"])
            offset = consumer.offsets_for_times([asked], timeout=20)[0].offset
        consumer.assign([TopicPartition(topic, partition, offset)])
        return {"handle": handle}

    def join(self, group, topic):
        handle, consumer = self.consumer(**{"group.id": group})
        consumer.subscribe([topic])
        return {"handle": handle}

    def poll(self, handle, max, wait_ms):
        consumer = self.consumers[handle]
        until = time.monotonic() + wait_ms / 1000
        records = []
        while len(records) < max and (left := until - time.monotonic()) > 0:
            message = consumer.poll(left)
            if message is None:
                continue
            if message.error():
                if message.error().retriable() or message.error().code() in TRANSIENT:
                    continue
                raise KafkaException(message.error())
            records.append({
                "partition": message.partition(),
                "offset": message.offset(),
                "timestamp": message.timestamp()[1],
                "key": agent.text(message.key()),
                "value": agent.text(message.value()),
                "headers": [[name, agent.text(value)] for name, value in message.headers() or []],
            })
        return {"records": records, "assigned": [each.partition for each in consumer.assignment()]}

    def commit(self, handle):
        self.consumers[handle].commit(asynchronous=False)

    def close(self, handle):
        self.consumers.pop(handle).close()
        self.consumers[handle] = None


# What a restart of the broker looks like to librdkafka; it recovers by itself.
TRANSIENT = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)

agent.serve(Agent(sys.argv[1]))
