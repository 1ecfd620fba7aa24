"""Agent over kafka-python, which has its own protocol code."""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

import agent


class Agent:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.producers = {}
        self.consumers = {}

    def create(self, topic, partitions, configs):
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        admin.close()

    def partitions(self, topic):
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        found = admin.describe_topics([topic])
        admin.close()
        return {"partitions": len(found[0]["partitions"])}

    def producer(self, codec):
        if codec not in self.producers:
            self.producers[codec] = KafkaProducer(
                bootstrap_servers=self.bootstrap,
                acks="all",
                enable_idempotence=True,
                compression_type=None if codec == "none" else codec,
                linger_ms=5,
                max_request_size=10_000_000,
                reconnect_backoff_max_ms=500,
                delivery_timeout_ms=60_000,
            )
        return self.producers[codec]

    def produce(self, topic, codec, records):
        producer = self.producer(codec)
        futures = [
            producer.send(
                topic,
                partition=record["partition"],
                key=agent.raw(record["key"]),
                value=agent.raw(record["value"]),
                headers=[(name, agent.raw(value)) for name, value in record["headers"]],
                timestamp_ms=record.get("timestamp"),
            )
            for record in records
        ]
        producer.flush(60)
        try:
            return {"offsets": [future.get(60).offset for future in futures]}
        except Exception:
            # An idempotent producer of kafka-python that was refused once answers with that error ever after.
            self.producers.pop(codec).close()
            raise

    def consumer(self, **settings):
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=10_000_000,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=500,
            reconnect_backoff_max_ms=500,
            **settings,
        )
        handle = len(self.consumers)
        self.consumers[handle] = consumer
        return handle, consumer

    def open(self, topic, partition, **where):
        handle, consumer = self.consumer(group_id=None)
        at = TopicPartition(topic, partition)
        consumer.assign([at])
        start = where["from"]
        if start == "beginning":
            consumer.seek_to_beginning(at)
        elif start == "end":
            consumer.seek_to_end(at)
        elif "offset" in start:
            consumer.seek(at, start["offset"])
        else:
            consumer.seek(at, consumer.offsets_for_times({at: start["timestamp"]})[at].offset)
        consumer.position(at)
        return {"handle": handle}

    def join(self, group, topic):
        handle, consumer = self.consumer(group_id=group)
        consumer.subscribe([topic])
        return {"handle": handle}

    def poll(self, handle, max, wait_ms):
        consumer = self.consumers[handle]
        until = time.monotonic() + wait_ms / 1000
        records = []
        while len(records) < max and (left := until - time.monotonic()) > 0:
            polled = consumer.poll(timeout_ms=int(left * 1000) + 1, max_records=max - len(records))
            for some in polled.values():
                for record in some:
                    records.append({
                        "partition": record.partition,
                        "offset": record.offset,
                        "timestamp": record.timestamp,
                        "key": agent.text(record.key),
                        "value": agent.text(record.value),
                        "headers": [[name, agent.text(value)] for name, value in record.headers],
                    })
        return {"records": records, "assigned": [each.partition for each in consumer.assignment()]}

    def commit(self, handle):
        self.consumers[handle].commit()

    def close(self, handle):
        self.consumers[handle].close()
        self.consumers[handle] = None


agent.serve(Agent(sys.argv[1]))
