// Agent over franz-go: JSON lines in, JSON lines out (see ../README.md).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type record struct {
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp *int64       `json:"timestamp"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

type request struct {
	Op         string            `json:"op"`
	Topic      string            `json:"topic"`
	Group      string            `json:"group"`
	Codec      string            `json:"codec"`
	Partition  int32             `json:"partition"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
	Records    []record          `json:"records"`
	From       json.RawMessage   `json:"from"`
	Handle     int               `json:"handle"`
	Max        int               `json:"max"`
	WaitMs     int64             `json:"wait_ms"`
}

type consumer struct {
	client *kgo.Client
	polled []*kgo.Record // what a commit covers

	mu       sync.Mutex
	assigned map[int32]bool
}

type agent struct {
	bootstrap string
	producers map[string]*kgo.Client
	consumers []*consumer
}

func main() {
	a := &agent{bootstrap: os.Args[1], producers: map[string]*kgo.Client{}}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		var answer map[string]any
		if err = json.Unmarshal(line, &r); err == nil {
			answer, err = a.answer(&r)
		}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if answer == nil {
			answer = map[string]any{}
		}
		out, _ := json.Marshal(answer)
		fmt.Println(string(out))
	}
}

func (a *agent) answer(r *request) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch r.Op {
	case "create":
		return nil, a.admin(func(admin *kadm.Client) error { return create(ctx, admin, r) })
	case "partitions":
		count := 0
		err := a.admin(func(admin *kadm.Client) error {
			found, err := admin.ListTopics(ctx, r.Topic)
			count = len(found[r.Topic].Partitions)
			return err
		})
		return map[string]any{"partitions": count}, err
	case "produce":
		return a.produce(ctx, r)
	case "open":
		return a.open(ctx, r)
	case "join":
		return a.join(r)
	case "poll":
		return a.consumers[r.Handle].poll(r)
	case "commit":
		c := a.consumers[r.Handle]
		return nil, c.client.CommitRecords(ctx, c.polled...)
	case "close":
		c := a.consumers[r.Handle]
		err := c.client.LeaveGroupContext(ctx)
		c.client.Close()
		return nil, err
	}
	return nil, errors.New("unknown operation")
}

func (a *agent) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options,
		kgo.SeedBrokers(a.bootstrap),
		kgo.RetryBackoffFn(func(int) time.Duration { return 200 * time.Millisecond }))...)
}

func (a *agent) admin(work func(*kadm.Client) error) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	return work(kadm.NewClient(client))
}

func create(ctx context.Context, admin *kadm.Client, r *request) error {
	configs := map[string]*string{}
	for name, value := range r.Configs {
		configs[name] = &value
	}
	_, err := admin.CreateTopic(ctx, r.Partitions, 1, configs, r.Topic)
	return err
}

func codec(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
}

func (a *agent) produce(ctx context.Context, r *request) (map[string]any, error) {
	client := a.producers[r.Codec]
	if client == nil {
		var err error
		client, err = a.client(
			kgo.ProducerBatchCompression(codec(r.Codec)),
			kgo.ProducerBatchMaxBytes(10_000_000),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerLinger(5*time.Millisecond))
		if err != nil {
			return nil, err
		}
		a.producers[r.Codec] = client
	}
	var records []*kgo.Record
	for _, each := range r.Records {
		made := &kgo.Record{Topic: r.Topic, Partition: each.Partition, Key: bytesOf(each.Key), Value: bytesOf(each.Value)}
		if each.Timestamp != nil {
			made.Timestamp = time.UnixMilli(*each.Timestamp)
		}
		for _, header := range each.Headers {
			made.Headers = append(made.Headers, kgo.RecordHeader{Key: *header[0], Value: bytesOf(header[1])})
		}
		records = append(records, made)
	}
	results := client.ProduceSync(ctx, records...)
	if err := results.FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(records))
	for i, each := range records {
		offsets[i] = each.Offset // ProduceSync fills the records in place
	}
	return map[string]any{"offsets": offsets}, nil
}

func (a *agent) open(ctx context.Context, r *request) (map[string]any, error) {
	var offset int64
	err := a.admin(func(admin *kadm.Client) (err error) {
		offset, err = start(ctx, admin, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	at := map[string]map[int32]kgo.Offset{r.Topic: {r.Partition: kgo.NewOffset().At(offset)}}
	client, err := a.client(kgo.ConsumePartitions(at), kgo.FetchMaxPartitionBytes(10_000_000))
	if err != nil {
		return nil, err
	}
	return a.keep(&consumer{client: client, assigned: map[int32]bool{r.Partition: true}}), nil
}

func start(ctx context.Context, admin *kadm.Client, r *request) (int64, error) {
	var where struct {
		Offset    *int64 `json:"offset"`
		Timestamp *int64 `json:"timestamp"`
	}
	var listed kadm.ListedOffsets
	var err error
	switch text := string(r.From); {
	case text == `"beginning"`:
		listed, err = admin.ListStartOffsets(ctx, r.Topic)
	case text == `"end"`:
		listed, err = admin.ListEndOffsets(ctx, r.Topic)
	default:
		if err := json.Unmarshal(r.From, &where); err != nil {
			return 0, err
		}
		if where.Offset != nil {
			return *where.Offset, nil
		}
		listed, err = admin.ListOffsetsAfterMilli(ctx, *where.Timestamp, r.Topic)
	}
	if err != nil {
		return 0, err
	}
	found, ok := listed.Lookup(r.Topic, r.Partition)
	if !ok {
		return 0, errors.New("partition was not listed")
	}
	return found.Offset, found.Err
}

func (a *agent) join(r *request) (map[string]any, error) {
	c := &consumer{assigned: map[int32]bool{}}
	mark := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, partition := range changed[r.Topic] {
				if held {
					c.assigned[partition] = true
				} else {
					delete(c.assigned, partition)
				}
			}
		}
	}
	client, err := a.client(
		kgo.ConsumerGroup(r.Group), kgo.ConsumeTopics(r.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(mark(true)), kgo.OnPartitionsRevoked(mark(false)), kgo.OnPartitionsLost(mark(false)))
	if err != nil {
		return nil, err
	}
	c.client = client
	return a.keep(c), nil
}

func (a *agent) keep(c *consumer) map[string]any {
	a.consumers = append(a.consumers, c)
	return map[string]any{"handle": len(a.consumers) - 1}
}

func (c *consumer) poll(r *request) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.WaitMs)*time.Millisecond)
	defer cancel()
	records := []record{}
	for len(records) < r.Max && ctx.Err() == nil {
		fetches := c.client.PollRecords(ctx, r.Max-len(records))
		var failed error
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				failed = err
			}
		})
		if failed != nil {
			return nil, failed
		}
		fetches.EachRecord(func(each *kgo.Record) {
			c.polled = append(c.polled, each)
			records = append(records, toRecord(each))
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	assigned := []int32{}
	for partition := range c.assigned {
		assigned = append(assigned, partition)
	}
	return map[string]any{"records": records, "assigned": assigned}, nil
}

func toRecord(from *kgo.Record) record {
	timestamp := from.Timestamp.UnixMilli()
	made := record{
		Partition: from.Partition, Offset: from.Offset, Timestamp: &timestamp,
		Key: textOf(from.Key), Value: textOf(from.Value), Headers: [][2]*string{},
	}
	for _, header := range from.Headers {
		made.Headers = append(made.Headers, [2]*string{&header.Key, textOf(header.Value)})
	}
	return made
}

func bytesOf(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}

func textOf(raw []byte) *string {
	if raw == nil {
		return nil
	}
	text := string(raw)
	return &text
}
