import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Agent over the Java client of Apache Kafka: JSON lines in, JSON lines out (see ../README.md). */
public final class Agent {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private final Map<String, KafkaProducer<String, String>> producers = new HashMap<>();
    private final List<KafkaConsumer<String, String>> consumers = new ArrayList<>();

    private Agent(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws Exception {
        Agent agent = new Agent(args[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer;
            try {
                answer = agent.answer(JSON.readTree(line));
            } catch (Exception error) {
                answer = JSON.createObjectNode().put("error", error.toString());
            }
            System.out.println(JSON.writeValueAsString(answer));
        }
        System.exit(0); // clients left open would keep the process for their session
    }

    private ObjectNode answer(JsonNode request) throws Exception {
        switch (request.get("op").asText()) {
            case "create": return create(request);
            case "partitions": return partitions(request);
            case "produce": return produce(request);
            case "open": return open(request);
            case "join": return join(request);
            case "poll": return poll(request);
            case "commit": consumer(request).commitSync(); return JSON.createObjectNode();
            case "close": consumer(request).close(); return JSON.createObjectNode();
            default: throw new IllegalArgumentException("unknown operation");
        }
    }

    private Properties common() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("reconnect.backoff.max.ms", "500");
        return settings;
    }

    private ObjectNode create(JsonNode request) throws Exception {
        Map<String, String> configs = new HashMap<>();
        request.get("configs").fields().forEachRemaining(each -> configs.put(each.getKey(), each.getValue().asText()));
        NewTopic topic = new NewTopic(request.get("topic").asText(), request.get("partitions").asInt(), (short) 1);
        try (Admin admin = Admin.create(common())) {
            admin.createTopics(List.of(topic.configs(configs))).all().get();
        }
        return JSON.createObjectNode();
    }

    private ObjectNode partitions(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        try (Admin admin = Admin.create(common())) {
            int found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            return JSON.createObjectNode().put("partitions", found);
        }
    }

    private KafkaProducer<String, String> producer(String codec) {
        return producers.computeIfAbsent(codec, name -> {
            Properties settings = common();
            settings.put("compression.type", name);
            settings.put("acks", "all");
            settings.put("enable.idempotence", "true");
            settings.put("max.request.size", "10000000");
            settings.put("delivery.timeout.ms", "60000");
            settings.put("linger.ms", "5");
            return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        });
    }

    private ObjectNode produce(JsonNode request) throws Exception {
        KafkaProducer<String, String> producer = producer(request.get("codec").asText());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : request.get("records")) {
            List<Header> headers = new ArrayList<>();
            for (JsonNode header : record.get("headers")) {
                String value = text(header.get(1));
                headers.add(new RecordHeader(header.get(0).asText(), value == null ? null : value.getBytes(StandardCharsets.UTF_8)));
            }
            JsonNode timestamp = record.get("timestamp");
            sent.add(producer.send(new ProducerRecord<>(
                request.get("topic").asText(), record.get("partition").asInt(),
                timestamp == null || timestamp.isNull() ? null : timestamp.asLong(),
                text(record.get("key")), text(record.get("value")), headers)));
        }
        producer.flush();
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode offsets = answer.putArray("offsets");
        for (Future<RecordMetadata> each : sent) offsets.add(each.get().offset());
        return answer;
    }

    private int consume(String group, JsonNode request) {
        Properties settings = common();
        if (group != null) settings.put("group.id", group);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("max.partition.fetch.bytes", "10000000");
        settings.put("session.timeout.ms", "10000");
        settings.put("heartbeat.interval.ms", "500");
        settings.put("max.poll.records", request.path("poll_records").asText("1000000"));
        if (request.has("auto_commit_ms")) {
            settings.put("enable.auto.commit", "true");
            settings.put("auto.commit.interval.ms", request.get("auto_commit_ms").asText());
        }
        consumers.add(new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer()));
        return consumers.size() - 1;
    }

    private KafkaConsumer<String, String> consumer(JsonNode request) {
        return consumers.get(request.get("handle").asInt());
    }

    private ObjectNode open(JsonNode request) {
        TopicPartition at = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        int handle = consume(null, request);
        KafkaConsumer<String, String> consumer = consumers.get(handle);
        consumer.assign(List.of(at));
        JsonNode from = request.get("from");
        if (from.has("offset")) consumer.seek(at, from.get("offset").asLong());
        else if (from.has("timestamp")) consumer.seek(at, consumer.offsetsForTimes(Map.of(at, from.get("timestamp").asLong())).get(at).offset());
        else if (from.asText().equals("end")) consumer.seekToEnd(List.of(at));
        else consumer.seekToBeginning(List.of(at));
        consumer.position(at);
        return JSON.createObjectNode().put("handle", handle);
    }

    private ObjectNode join(JsonNode request) {
        int handle = consume(request.get("group").asText(), request);
        consumers.get(handle).subscribe(List.of(request.get("topic").asText()));
        return JSON.createObjectNode().put("handle", handle);
    }

    private ObjectNode poll(JsonNode request) {
        KafkaConsumer<String, String> consumer = consumer(request);
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode records = answer.putArray("records");
        long until = System.nanoTime() + request.get("wait_ms").asLong() * 1_000_000;
        while (records.size() < request.get("max").asInt() && System.nanoTime() < until) {
            for (ConsumerRecord<String, String> each : consumer.poll(Duration.ofNanos(until - System.nanoTime()))) {
                ObjectNode record = records.addObject();
                record.put("partition", each.partition()).put("offset", each.offset()).put("timestamp", each.timestamp());
                record.put("key", each.key()).put("value", each.value());
                ArrayNode headers = record.putArray("headers");
                for (Header header : each.headers()) {
                    headers.addArray().add(header.key())
                        .add(header.value() == null ? null : new String(header.value(), StandardCharsets.UTF_8));
                }
            }
        }
        ArrayNode assigned = answer.putArray("assigned");
        for (TopicPartition each : consumer.assignment()) assigned.add(each.partition());
        return answer;
    }

    private static String text(JsonNode value) {
        return value == null || value.isNull() ? null : value.asText();
    }
}
