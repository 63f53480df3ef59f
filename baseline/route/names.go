package route

import (
	"slices"
	"strings"
	"unicode"
)

// tokens splits a name or path segment into lower-case words, at punctuation
// and at camel case, without a plural's s; two neighbours also count as one
// word ("sign-in" is "signin").
func tokens(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, string(word))
			word = word[:0]
		}
	}
	lower := false
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
		case unicode.IsUpper(r) && lower:
			flush()
			word = append(word, unicode.ToLower(r))
		default:
			word = append(word, unicode.ToLower(r))
		}
		lower = unicode.IsLower(r)
	}
	flush()
	n := len(words)
	for i := range n {
		if i+1 < n {
			words = append(words, words[i]+words[i+1])
		}
		if w := words[i]; len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") {
			words = append(words, strings.TrimSuffix(w, "s"))
		}
	}
	return words
}

// hit returns the first of want that is among words.
func hit(words, want []string) string {
	for _, w := range words {
		if slices.Contains(want, w) {
			return w
		}
	}
	return ""
}

// class is what a field's name or the look of its values says it holds.
type class uint8

const (
	unclear class = iota
	account
	secret
	card
	csc
	expiry
	amount
	item
	quantity
	coupon
	phone
	email
	otp
	payee
	address
	content
	term
	seat
	show
	captcha
	page
	prompt
	person
	numClasses
)

var classNames = [numClasses]string{
	"", "an account", "a secret", "a card number", "a card's security code", "a card's expiry", "an amount", "an item", "a quantity", "a coupon code",
	"a phone number", "an e-mail address", "a code", "a payee", "an address", "text that somebody wrote", "a search term", "a seat or slot", "an event",
	"a captcha token", "a page or order", "a prompt", "a person's name",
}

// classWords are the words by which names tell their class, in the order in
// which they are asked: what is told by a rarer word comes first. English, and
// the commonest German, French and Spanish words of shops.
var classWords = [numClasses][]string{
	account:  {"user", "username", "login", "account", "userid", "useremail", "identifier", "loginid", "benutzer", "benutzername", "utilisateur", "usuario", "log", "mail"},
	secret:   {"password", "passwd", "pass", "pwd", "passphrase", "passwort", "kennwort", "motdepasse", "contrasena", "secret", "userpassword"},
	card:     {"cardnumber", "ccnumber", "cardno", "ccnum", "pan", "creditcard", "kartennummer"},
	csc:      {"csc", "cvc", "cvv", "cvv2", "cvc2", "securitycode"},
	expiry:   {"exp", "expiry", "expiration", "expdate", "expirydate", "validthru"},
	amount:   {"amount", "total", "price", "sum", "betrag", "montant", "importe"},
	item:     {"item", "sku", "product", "productid", "article", "itemid", "variant", "variantid", "artikel", "produit", "lot"},
	quantity: {"qty", "quantity", "menge", "anzahl", "cantidad"},
	coupon:   {"coupon", "couponcode", "voucher", "vouchercode", "promo", "promocode", "discountcode", "giftcard", "gutschein", "gutscheincode"},
	phone:    {"phone", "mobile", "msisdn", "tel", "telephone", "phonenumber", "telefon", "handy"},
	email:    {"email", "emailaddress", "mail"},
	otp:      {"otp", "onetimecode", "verificationcode", "smscode", "totp", "pin", "code"},
	payee:    {"payee", "iban", "recipient", "beneficiary", "destination", "wallet", "accountnumber", "empfaenger"},
	address:  {"address", "street", "zip", "postcode", "postalcode", "city", "adresse", "strasse", "plz", "direccion"},
	content:  {"text", "comment", "message", "content", "review", "reply", "kommentar", "nachricht", "body"},
	term:     {"q", "query", "search", "s", "term", "keyword", "keywords", "suche", "searchterm"},
	seat:     {"seat", "slot", "table", "appointment"},
	show:     {"event", "eventid", "showing", "performance"},
	captcha:  {"captcha", "recaptcha", "hcaptcha", "turnstile", "captchatoken", "grecaptcharesponse"},
	page:     {"page", "offset", "limit", "sort", "perpage", "cursor"},
	prompt:   {"prompt", "messages", "model", "temperature"},
	person:   {"name", "firstname", "lastname", "fullname", "birthday", "dob", "vorname", "nachname"},
}

// classOrder asks the telling names first.
var classOrder = []class{
	csc, card, expiry, captcha, coupon, secret, payee, email, phone, quantity, amount, seat, show, address, term, page, prompt, content, item, otp, person, account,
}

// look is the shape of a value, taken and forgotten.
type look uint8

const (
	plain look = iota
	looksCard
	looksEmail
	looksPhone
	numLooks
)

// lookOf tells the shape of one value.
func lookOf(v string) look {
	digits := 0
	for i := range len(v) {
		switch c := v[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == ' ' || c == '-' || c == '+' && i == 0 || c == '(' || c == ')':
		case c == '@' && i > 0 && strings.IndexByte(v[i:], '.') > 1:
			return looksEmail
		default:
			if strings.IndexByte(v, '@') < 0 {
				return plain
			}
		}
	}
	switch {
	case len(v) > 24:
	case digits >= 13 && digits <= 19 && luhn(v):
		return looksCard
	case digits >= 8 && digits <= 15 && v[0] == '+':
		return looksPhone
	}
	return plain
}

// luhn checks a card number's last digit (ISO/IEC 7812-1).
func luhn(v string) bool {
	sum, double := 0, false
	for i := len(v) - 1; i >= 0; i-- {
		if v[i] < '0' || v[i] > '9' {
			continue
		}
		d := int(v[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum, double = sum+d, !double
	}
	return sum%10 == 0
}

// field is what a parameter or body field showed: its name's class and how
// often its values had a certain look.
type field struct {
	count uint64
	looks [numLooks]uint64
}

// classify tells what field name holds. The look of the values counts where
// nearly all of them share it: one in ten numbers passes Luhn's test by chance.
func (f *field) classify(name string) class {
	most := func(l look) bool { return f.count >= 3 && f.looks[l]*10 >= f.count*9 }
	words := tokens(name)
	// The last element of a pointer names it, the ones before say of what.
	last := tokens(name[strings.LastIndexByte(name, '/')+1:])
	if most(looksCard) {
		return card
	}
	for _, c := range classOrder {
		if hit(last, classWords[c]) != "" {
			if c == account && most(looksPhone) {
				return phone
			}
			return c
		}
	}
	if hit(last, []string{"number", "no", "num"}) != "" && hit(words, []string{"card", "cc"}) != "" {
		return card
	}
	switch {
	case most(looksPhone):
		return phone
	case most(looksEmail):
		return email
	}
	return unclear
}
