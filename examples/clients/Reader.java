import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** The state of an upsert topic: `java -cp 'JARS/*' Reader.java BROKERS TOPIC [--until-end]`. README.md says what the headers mean. */
class Reader {
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    /** Who wrote the newest record of a key, the place of that, and its value; a deletion (no value) is remembered too. */
    record Row(String writer, long[] place, String value) {}

    public static void main(String[] args) throws Exception {
        boolean untilEnd = List.of(args).contains("--until-end");
        Map<String, Object> settings = Map.of("bootstrap.servers", args[0], "isolation.level", "read_committed", "enable.auto.commit", false);
        Map<String, Row> rows = new TreeMap<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            var partitions = consumer.partitionsFor(args[1]).stream().map(p -> new TopicPartition(args[1], p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (!untilEnd || partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    var place = Stream.of("generation", "epoch", "index").mapToLong(name -> Long.parseLong(header(record, name))).toArray();
                    var row = new Row(header(record, "pipeline"), place, record.value());
                    var known = rows.get(record.key());
                    if (known != null && known.writer.equals(row.writer) && Arrays.compare(known.place, place) >= 0) {
                        continue; // a late repeat: what is known of the key is as new, or newer
                    }
                    rows.put(record.key(), row);
                    if (!untilEnd) show(record.key(), row.value);
                }
            }
        }
        for (var row : rows.entrySet()) {
            if (row.getValue().value != null) show(row.getKey(), row.getValue().value);
        }
    }

    static String header(ConsumerRecord<String, String> record, String name) {
        return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
    }

    static void show(String key, String value) throws Exception {
        JsonNode row = JSON.createObjectNode().put("key", key).set("value", JSON.readTree(value == null ? "null" : value));
        OUT.println(row);
    }
}
