// Owns the truth that a table is judged by: what an Apache consumer reads from topics, read_committed, up to the end offsets seen at start.
// Not judging (audit.py), and nothing of the product: no librdkafka, no decoder.
//
//   java -cp <kafka jars>:<this class> Dump BOOTSTRAP TOPIC...
//
// One line per record, tab separated: topic partition offset timestamp key value, the last two Base64 or "-" for null. A comment line per topic
// partition gives its range: "# topic partition beginning end", where end is the last stable offset, which a sink must have committed.

import java.io.BufferedWriter;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Dump {
    // Without progress for this long the broker is at fault, and an endless dump would hide it.
    private static final long STALLED_MS = 60_000;

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("isolation.level", "read_committed");
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        properties.put("allow.auto.create.topics", "false");
        properties.put("max.poll.records", "10000");
        properties.put("fetch.max.bytes", "16777216");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties);
                PrintWriter out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 20))) {
            List<TopicPartition> assigned = new ArrayList<>();
            for (String topic : Arrays.asList(arguments).subList(1, arguments.length)) {
                for (PartitionInfo partition : consumer.partitionsFor(topic)) {
                    assigned.add(new TopicPartition(topic, partition.partition()));
                }
            }
            consumer.assign(assigned);
            Map<TopicPartition, Long> beginnings = consumer.beginningOffsets(assigned);
            Map<TopicPartition, Long> ends = consumer.endOffsets(assigned);
            Set<TopicPartition> open = new HashSet<>();
            for (TopicPartition partition : assigned) {
                long beginning = beginnings.get(partition);
                long end = ends.get(partition);
                out.printf("# %s\t%d\t%d\t%d%n", partition.topic(), partition.partition(), beginning, end);
                consumer.seek(partition, beginning);
                if (beginning < end) {
                    open.add(partition);
                }
            }
            long progressed = System.currentTimeMillis();
            while (!open.isEmpty()) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    progressed = System.currentTimeMillis();
                    if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                        print(out, record);
                    }
                }
                // The position, not the last record: markers and aborted records at the tail are never handed out.
                int before = open.size();
                open.removeIf(partition -> consumer.position(partition) >= ends.get(partition));
                if (open.size() != before) {
                    consumer.pause(assigned.stream().filter(partition -> !open.contains(partition)).toList());
                }
                if (System.currentTimeMillis() - progressed > STALLED_MS) {
                    System.err.println("no progress on " + open);
                    System.exit(3);
                }
            }
            if (out.checkError()) {
                System.err.println("could not write the dump");
                System.exit(3);
            }
        }
    }

    private static void print(PrintWriter out, ConsumerRecord<byte[], byte[]> record) {
        out.append(record.topic()).append('\t').append(Integer.toString(record.partition())).append('\t');
        out.append(Long.toString(record.offset())).append('\t').append(Long.toString(record.timestamp())).append('\t');
        out.append(text(record.key())).append('\t').append(text(record.value())).append('\n');
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "-" : Base64.getEncoder().encodeToString(bytes);
    }
}
