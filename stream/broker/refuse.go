package broker

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The requests that the guard reads as a whole, because kfake must not see some
// of them: produce requests while the disk is low, and any that would compact a
// topic, since kfake's compaction loses records when it is killed.

const (
	keyCreateTopics            = 19
	keyAlterConfigs            = 33
	keyIncrementalAlterConfigs = 44

	// maxAdminFrameBytes bounds the latter.
	maxAdminFrameBytes = 1 << 20
	// orderTimeout is how long a refusal waits for the responses before it.
	orderTimeout = 5 * time.Second
)

const errCompaction = "compacted topics are not safe on the embedded log"

func inspected(key int16) bool {
	return key == keyCreateTopics || key == keyAlterConfigs || key == keyIncrementalAlterConfigs
}

// inspect reads a frame of size bytes, prefix included, and gives it to kfake,
// answers it or ends the connection (io.EOF).
func (c *guardedConn) inspect(size int, key, version int16) error {
	if inspected(key) && size > maxAdminFrameBytes {
		c.guard.reject(rejectSize)
		return io.EOF
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(c.r, frame); err != nil {
		c.noteTimeout(err)
		return io.EOF
	}
	request, correlation, err := parseRequest(frame, key, version)
	if err != nil {
		c.guard.reject(rejectKey)
		return io.EOF
	}
	response, refused := refuse(request)
	switch {
	case !refused:
		c.passed++
		c.held = frame
		return nil
	case key == keyProduce:
		c.guard.refused()
	}
	if response == nil {
		if key == keyProduce {
			return nil // acks=0: nobody waits for an answer
		}
		c.guard.reject(rejectForbidden)
		return io.EOF
	}
	return c.answer(correlation, response)
}

// answer writes a response of our own after those that kfake still owes.
func (c *guardedConn) answer(correlation uint32, response kmsg.Response) error {
	late := time.NewTimer(orderTimeout)
	defer late.Stop()
	for c.answered.Load() < c.passed {
		select {
		case <-c.wake:
		case <-late.C:
			c.guard.reject(rejectTimeout)
			return io.EOF
		}
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 4), correlation)
	if response.IsFlexible() {
		b = append(b, 0) // no tags
	}
	b = response.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_ = c.SetWriteDeadline(time.Now().Add(frameTimeout))
	if _, err := c.Conn.Write(b); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	c.idle()
	return nil
}

// parseRequest reads a frame's header and body.
func parseRequest(frame []byte, key, version int16) (kmsg.Request, uint32, error) {
	r := kbin.Reader{Src: frame[8:]} // after size, key and version
	correlation := uint32(r.Int32())
	r.NullableString() // client id
	request := kmsg.RequestForKey(key)
	request.SetVersion(version)
	if request.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := r.Complete(); err != nil {
		return nil, 0, fmt.Errorf("request header: %w", err)
	}
	return request, correlation, request.ReadFrom(r.Src)
}

// refuse reports whether a request is refused, and what to answer; nil means no
// answer. Produce requests come here only to be refused.
func refuse(request kmsg.Request) (kmsg.Response, bool) {
	switch r := request.(type) {
	case *kmsg.ProduceRequest:
		return refuseProduce(r), true
	case *kmsg.CreateTopicsRequest:
		return refuseTopics(r)
	case *kmsg.AlterConfigsRequest:
		for _, res := range r.Resources {
			for _, c := range res.Configs {
				if isCompaction(c.Name, c.Value) {
					return nil, true
				}
			}
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for _, res := range r.Resources {
			for _, c := range res.Configs {
				if isCompaction(c.Name, c.Value) {
					return nil, true
				}
			}
		}
	}
	return nil, false
}

// refuseProduce answers KAFKA_STORAGE_ERROR for every partition, which clients
// retry.
func refuseProduce(r *kmsg.ProduceRequest) kmsg.Response {
	if r.Acks == 0 {
		return nil
	}
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range r.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, kerr.KafkaStorageError.Code, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// refuseTopics answers INVALID_CONFIG for all topics of a request that asks for
// a compacted one.
func refuseTopics(r *kmsg.CreateTopicsRequest) (kmsg.Response, bool) {
	compact := false
	for _, t := range r.Topics {
		for _, c := range t.Configs {
			compact = compact || isCompaction(c.Name, c.Value)
		}
	}
	if !compact {
		return nil, false
	}
	resp := r.ResponseKind().(*kmsg.CreateTopicsResponse)
	for _, t := range r.Topics {
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, kerr.InvalidConfig.Code, new(errCompaction)
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, true
}

func isCompaction(name string, value *string) bool {
	return strings.HasSuffix(name, "cleanup.policy") && value != nil && strings.Contains(*value, "compact")
}
