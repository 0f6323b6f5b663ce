"""The state of an upsert topic: `python reader.py BROKERS TOPIC [--until-end]`. README.md says what the headers mean."""
import json
import sys
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

brokers, topic = sys.argv[1:3]
until_end = "--until-end" in sys.argv
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "enable.auto.commit": False,
                     "isolation.level": "read_committed", "enable.partition.eof": True})
unread = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
show = lambda key, value: print(json.dumps({"key": key, "value": value}), flush=True)

rows = {}  # key -> who wrote its newest record, the place of that, and its value
while unread or not until_end:
    record = consumer.poll(1.0)
    if record is None:
        continue
    if record.error():
        if record.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(record.error())
        unread.discard(record.partition())
        continue
    headers = {name: value.decode() for name, value in record.headers()}
    writer, place = headers["pipeline"], [int(headers[name]) for name in ("generation", "epoch", "index")]
    key, value = record.key().decode(), json.loads(record.value() or "null")
    if key in rows and rows[key][0] == writer and rows[key][1] >= place:
        continue  # a late repeat: what is known of the key is as new, or newer
    rows[key] = (writer, place, value)  # a deletion is remembered too, so that no repeat undoes it
    if not until_end:
        show(key, value)

for key in sorted(rows):
    if rows[key][2] is not None:
        show(key, rows[key][2])
