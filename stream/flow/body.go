package flow

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"sync"
)

// MaxBody bounds, in bytes, how much of a body is read for claims, before and
// after decompression. The ingress buffers no more than this.
const MaxBody = 64 << 10

// maxFields bounds the parameters of a query or form that are looked at.
const maxFields = 256

var (
	errBodyTooLarge = errors.New("body larger than 64 KiB")
	errBodyEncoding = errors.New("body encoding is neither identity nor gzip")
)

// inflater is a pooled gzip reader with its output.
type inflater struct {
	in  bytes.Reader
	zip *gzip.Reader
	out []byte
}

var inflaters = sync.Pool{New: func() any { return &inflater{out: make([]byte, 0, MaxBody+1)} }}

// decodeBody returns the body without its content encoding. done must be called
// when the result is no longer needed.
func decodeBody(body []byte, encoding string) (out []byte, done func(), err error) {
	done = func() {}
	if len(body) > MaxBody {
		return nil, done, errBodyTooLarge
	}
	switch encoding = strings.TrimSpace(encoding); {
	case encoding == "" || strings.EqualFold(encoding, "identity"):
		return body, done, nil
	case strings.EqualFold(encoding, "gzip") || strings.EqualFold(encoding, "x-gzip"):
	default:
		return nil, done, errBodyEncoding
	}
	f := inflaters.Get().(*inflater)
	done = func() { inflaters.Put(f) }
	f.in.Reset(body)
	if f.zip == nil {
		f.zip, err = gzip.NewReader(&f.in)
	} else {
		err = f.zip.Reset(&f.in)
	}
	if err != nil {
		f.zip = nil
		return nil, done, err
	}
	f.out = f.out[:MaxBody+1]
	n, err := io.ReadFull(f.zip, f.out)
	f.out = f.out[:n]
	switch {
	case err == nil:
		return nil, done, errBodyTooLarge
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && f.in.Len() == 0 && f.whole():
		return f.out, done, nil
	default:
		return nil, done, err
	}
}

// whole reports whether the gzip stream ended where its trailer says: ReadFull
// turns the clean end of a short stream into ErrUnexpectedEOF, as it does with a
// truncated one.
func (f *inflater) whole() bool {
	var one [1]byte
	n, err := f.zip.Read(one[:])
	return n == 0 && errors.Is(err, io.EOF)
}

// pair is one parameter of a query or form.
type pair struct{ name, value string }

// eachPair calls f for the parameters of an urlencoded string, names decoded,
// values as sent, until f returns false or maxFields are done.
func eachPair(s string, f func(name, value string) bool) {
	for n := 0; s != "" && n < maxFields; n++ {
		var field string
		field, s, _ = strings.Cut(s, "&")
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		if !f(percentDecode(name, true), value) {
			return
		}
	}
}

// parseForm reads an urlencoded body.
func parseForm(body []byte, into []pair) []pair {
	eachPair(string(body), func(name, value string) bool {
		into = append(into, pair{name, percentDecode(value, true)})
		return true
	})
	return into
}

// parseMultipart reads the fields (not the files) of a multipart/form-data
// body.
func parseMultipart(body []byte, contentType string, into []pair) ([]pair, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return into, err
	}
	if params["boundary"] == "" {
		return into, errors.New("multipart body without boundary")
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for range maxFields {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return into, nil
		}
		if err != nil {
			return into, err
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return into, err
		}
		name := part.FormName()
		if part.FileName() != "" {
			value = nil
		}
		into = append(into, pair{name, string(value)})
	}
	return into, nil
}
