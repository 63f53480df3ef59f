// Package demo owns the small shop that weir up --demo protects, the people who
// use it, and the one who abuses it: a credential-stuffing bot that changes
// address, fingerprint and session as it goes.
//
// It promises that nothing here tells weir who the bot is: people and bot are
// clients of the same shop over the same listener, from loopback addresses that
// are all alike, and the recorded days that teach weir come from the people's
// own code run against the shop's own handler. It never sends a byte outside
// 127.0.0.0/8.
package demo

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Flows is the shop's flow map.
//
//go:embed flows.yaml
var Flows []byte

const (
	accounts = 240
	items    = 120
	pageSize = 12
	// accountHeader names the signed-in account towards weir; a real
	// application would do the same, and the ingress could strip it.
	accountHeader = "X-User"
)

// Shop is the demo application: pages, a login, a cart and a payment. Its state
// (who owns which session) is in the cookie alone, so that it needs no memory.
type Shop struct {
	mux *http.ServeMux
}

// NewShop returns the shop's handler.
func NewShop() *Shop {
	s := &Shop{mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /{$}", s.page("Weir Demo Shop", listing(0)))
	s.mux.HandleFunc("GET /list/{page}", s.list)
	s.mux.HandleFunc("GET /item/{id}", s.item)
	s.mux.HandleFunc("GET /login", s.page("Sign in", `<form method=post action=/api/login></form>`))
	s.mux.HandleFunc("POST /api/login", s.login)
	s.mux.HandleFunc("POST /api/cart", s.cart)
	s.mux.HandleFunc("POST /api/orders/{id}/pay", s.pay)
	s.mux.HandleFunc("GET /static/{file}", s.static)
	s.mux.HandleFunc("GET /search", s.page("Search", listing(1)))
	return s
}

// ServeHTTP gives each visitor a session and a device cookie and answers.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if sid, err := r.Cookie("sid"); err != nil {
		newSession(w, "")
		if _, err := r.Cookie("did"); err != nil {
			setCookie(w, "did", token("d", ""))
		}
	} else if account := owner(sid.Value); account != "" {
		w.Header().Set(accountHeader, account)
	}
	s.mux.ServeHTTP(w, r)
}

// token makes a session or device value; an owned session ends in its account.
func token(prefix, account string) string {
	return prefix + rand.Text() + "." + account
}

func newSession(w http.ResponseWriter, account string) {
	setCookie(w, "sid", token("s", account))
}

// setCookie leaves Secure out: the demo speaks plain HTTP on loopback.
func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}) //nolint:gosec // loopback demo without TLS
}

func owner(sid string) string {
	_, account, _ := strings.Cut(sid, ".")
	return account
}

// password is what each account's owner knows.
func password(account string) string { return "correct-" + account }

func account(i int) string { return fmt.Sprintf("user%03d@shop.example", i) }

func (s *Shop) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ User, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<12)).Decode(&in); err != nil {
		http.Error(w, "malformed", http.StatusBadRequest)
		return
	}
	if in.Password != password(in.User) {
		answer(w, http.StatusUnauthorized, map[string]any{"ok": false})
		return
	}
	newSession(w, in.User)
	answer(w, http.StatusOK, map[string]any{"ok": true})
}

func (s *Shop) cart(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"ok": true})
}

func (s *Shop) pay(w http.ResponseWriter, r *http.Request) {
	var in struct{ Card struct{ Number string } }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<12)).Decode(&in); err != nil {
		http.Error(w, "malformed", http.StatusBadRequest)
		return
	}
	answer(w, http.StatusOK, map[string]any{"approved": true, "order": r.PathValue("id")})
}

func (s *Shop) list(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("page"))
	if err != nil || n < 0 || n >= items/pageSize {
		http.NotFound(w, r)
		return
	}
	s.page("Our things", listing(n))(w, r)
}

func (s *Shop) item(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || id < 0 || id >= items {
		http.NotFound(w, r)
		return
	}
	s.page(fmt.Sprintf("Thing no. %d", id), "<p>A fine thing.</p>")(w, r)
}

func (s *Shop) static(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/css")
	w.Header().Set("Cache-Control", "max-age=60")
	_, _ = fmt.Fprintf(w, "/* %s */\n", r.PathValue("file"))
}

func (s *Shop) page(title, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<!doctype html><title>%s</title><link rel=stylesheet href=/static/shop.css><h1>%s</h1>%s\n", title, title, body)
	}
}

func listing(page int) string {
	var b strings.Builder
	for i := range pageSize {
		id := page*pageSize + i
		_, _ = fmt.Fprintf(&b, "<a href=/item/%d>Thing no. %d</a> ", id, id)
	}
	return b.String()
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
