package stream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// BucketConfig says where snapshots stand in an S3-compatible object store.
type BucketConfig struct {
	// Endpoint is the store's URL; "" is Amazon S3.
	Endpoint string
	// Region, where the store asks for one.
	Region string
	// Bucket exists already; Prefix is what the snapshots' names begin with.
	Bucket, Prefix string
	// AccessKey and SecretKey; without them those of the environment
	// (AWS_ACCESS_KEY_ID, ...), of the AWS credentials file or of the machine's role.
	AccessKey, SecretKey string
	// TLS is nil for the system's authorities.
	TLS *tls.Config
}

// Bucket is a SnapshotStore in an S3-compatible object store:
// PREFIX/topic/partition/OFFSET-SECONDS.snap, one object each. A snapshot is a
// multipart upload that becomes visible, whole, when it is completed.
type Bucket struct {
	core   *minio.Core
	bucket string
	prefix string
	// stall is how long a read may bring nothing; bucketTimeout.
	stall time.Duration
}

const (
	// partBytes is the size of an upload's parts but the last; S3 takes 5 MiB to
	// 5 GiB and at most 10,000 of them.
	partBytes = 8 << 20
	// bucketTimeout bounds one request, which carries at most partBytes, and each
	// wait for more of a snapshot that is being read.
	bucketTimeout = 2 * time.Minute
	// bucketTries is how often a request is tried before it counts as failed.
	bucketTries = 4
	amazonS3    = "https://s3.amazonaws.com"
)

// NewBucket checks the configuration and connects with nothing yet.
func NewBucket(cfg BucketConfig) (*Bucket, error) {
	if cfg.Endpoint == "" {
		cfg.Endpoint = amazonS3
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("snapshots: endpoint %q: want http(s)://HOST[:PORT]", cfg.Endpoint)
	}
	if cfg.Bucket == "" || (cfg.AccessKey == "") != (cfg.SecretKey == "") {
		return nil, errors.New("snapshots: want a bucket, and both keys or none")
	}
	login := credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	if cfg.AccessKey == "" {
		login = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if cfg.TLS != nil {
		transport.TLSClientConfig = cfg.TLS
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: login, Secure: u.Scheme == "https", Region: cfg.Region, Transport: transport, MaxRetries: bucketTries,
	})
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	return &Bucket{core: core, bucket: cfg.Bucket, prefix: strings.Trim(cfg.Prefix, "/"), stall: bucketTimeout}, nil
}

// dir is what the names of a partition's snapshots begin with.
func (b *Bucket) dir(topic string, partition int32) string {
	return strings.TrimPrefix(path.Join(b.prefix, topic, strconv.Itoa(int(partition)))+"/", "/")
}

func (b *Bucket) name(id SnapshotID) string { return b.dir(id.Topic, id.Partition) + snapshotName(id) }

// failed says what went wrong and that it is the store's fault, not the
// snapshot's; an object that is not there is fs.ErrNotExist instead.
func (b *Bucket) failed(what string, err error) error {
	switch minio.ToErrorResponse(err).Code {
	case minio.NoSuchKey, minio.NoSuchUpload:
		return fmt.Errorf("snapshots: %s s3://%s: %w", what, b.bucket, fs.ErrNotExist)
	}
	return fmt.Errorf("%w: %s s3://%s: %w", ErrSnapshotStore, what, b.bucket, err)
}

// Create implements SnapshotStore.
func (b *Bucket) Create(ctx context.Context, id SnapshotID) (SnapshotWriter, error) {
	b.sweep(ctx, b.dir(id.Topic, id.Partition))
	w := &bucketWriter{b: b, ctx: ctx, name: b.name(id)}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	var err error
	if w.upload, err = b.core.NewMultipartUpload(ctx, b.bucket, w.name, minio.PutObjectOptions{ContentType: "application/octet-stream"}); err != nil {
		return nil, b.failed("begin an upload to", err)
	}
	return w, nil
}

// sweep ends the uploads of writers that were killed: nobody sees them, but the
// store keeps their parts.
func (b *Bucket) sweep(ctx context.Context, dir string) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	left, err := b.core.ListMultipartUploads(ctx, b.bucket, dir, "", "", "", 100)
	if err != nil {
		return // the next one tries again
	}
	for _, u := range left.Uploads {
		if time.Since(u.Initiated) > staleTmpAge {
			_ = b.core.AbortMultipartUpload(ctx, b.bucket, u.Key, u.UploadID)
		}
	}
}

// List implements SnapshotStore. Names it does not know are left alone.
func (b *Bucket) List(ctx context.Context, topic string, partition int32) ([]SnapshotID, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	var ids []SnapshotID
	dir := b.dir(topic, partition)
	for o := range b.core.Client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: dir}) {
		if o.Err != nil {
			return nil, b.failed("list", o.Err)
		}
		if id, ok := parseSnapshotName(strings.TrimPrefix(o.Key, dir)); ok {
			id.Topic, id.Partition = topic, partition
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Open implements SnapshotStore.
func (b *Bucket) Open(ctx context.Context, id SnapshotID) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &bucketReader{b: b, ctx: ctx, cancel: cancel}
	r.stalled = time.AfterFunc(b.stall, func() { cancel(fmt.Errorf("no byte for %v", b.stall)) })
	defer r.stalled.Stop()
	var err error
	if r.ReadCloser, _, _, err = b.core.GetObject(ctx, b.bucket, b.name(id), minio.GetObjectOptions{}); err != nil {
		defer cancel(nil)
		return nil, b.failed("read", cmp.Or(context.Cause(ctx), err))
	}
	return r, nil
}

// bucketReader remembers that the connection broke or stalled: bytes that did
// not arrive say nothing against the snapshot.
type bucketReader struct {
	io.ReadCloser
	b       *Bucket
	ctx     context.Context //nolint:containedctx // of the request, which the timer ends
	cancel  context.CancelCauseFunc
	stalled *time.Timer
	broken  error
}

func (r *bucketReader) Read(p []byte) (int, error) {
	r.stalled.Reset(r.b.stall)
	defer r.stalled.Stop()
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.broken = r.b.failed("read", cmp.Or(context.Cause(r.ctx), err))
		err = r.broken
	}
	return n, err
}

// Close tells of a broken connection again, since who parsed the bytes may have
// hidden it behind an error of its own.
func (r *bucketReader) Close() error {
	defer r.cancel(nil)
	return errors.Join(r.broken, r.ReadCloser.Close())
}

// Remove implements SnapshotStore.
func (b *Bucket) Remove(ctx context.Context, id SnapshotID) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	err := b.core.RemoveObject(ctx, b.bucket, b.name(id), minio.RemoveObjectOptions{})
	if err = b.failedUnlessNil("remove from", err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (b *Bucket) failedUnlessNil(what string, err error) error {
	if err == nil {
		return nil
	}
	return b.failed(what, err)
}

// bucketWriter uploads a snapshot in parts as it is written.
type bucketWriter struct {
	b      *Bucket
	ctx    context.Context //nolint:containedctx // of the snapshot, which outlives no call of its owner's
	name   string
	upload string
	buf    []byte
	parts  []minio.CompletePart
}

// Write implements io.Writer.
func (w *bucketWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), partBytes-len(w.buf))
		w.buf, p = append(w.buf, p[:take]...), p[take:]
		if len(w.buf) == partBytes {
			if err := w.put(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// put uploads what is gathered as the next part; the store checks its SHA-256.
func (w *bucketWriter) put() error {
	ctx, cancel := context.WithTimeout(w.ctx, bucketTimeout)
	defer cancel()
	sum := sha256.Sum256(w.buf)
	part, err := w.b.core.PutObjectPart(ctx, w.b.bucket, w.name, w.upload, len(w.parts)+1, bytes.NewReader(w.buf), int64(len(w.buf)),
		// Disabled is the library's own, streamed one.
		minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum[:]), DisableContentSha256: true})
	if err != nil {
		return w.b.failed("upload to", err)
	}
	w.parts = append(w.parts, minio.CompletePart{
		PartNumber: part.PartNumber, ETag: part.ETag,
		ChecksumCRC32: part.ChecksumCRC32, ChecksumCRC32C: part.ChecksumCRC32C, ChecksumSHA1: part.ChecksumSHA1, ChecksumSHA256: part.ChecksumSHA256, ChecksumCRC64NVME: part.ChecksumCRC64NVME,
	})
	w.buf = w.buf[:0]
	return nil
}

// Commit uploads the rest and publishes the whole.
func (w *bucketWriter) Commit() error {
	var err error
	if len(w.buf) > 0 {
		err = w.put()
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(w.ctx, bucketTimeout)
		defer cancel()
		if _, err = w.b.core.CompleteMultipartUpload(ctx, w.b.bucket, w.name, w.upload, w.parts, minio.PutObjectOptions{}); err == nil {
			return nil
		}
		err = w.b.failed("publish in", err)
	}
	return errors.Join(err, w.Abort())
}

// Abort discards what was uploaded.
func (w *bucketWriter) Abort() error {
	w.buf = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 10*time.Second)
	defer cancel()
	err := w.b.failedUnlessNil("discard an upload to", w.b.core.AbortMultipartUpload(ctx, w.b.bucket, w.name, w.upload))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
