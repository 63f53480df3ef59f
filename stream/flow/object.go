package flow

import (
	"slices"
	"strings"
)

// objectClassID groups object names that are treated alike.
type objectClassID uint8

const (
	// classUnknown: no word of the name is known; hashed, because a name that
	// we do not know may be a person's.
	classUnknown objectClassID = iota
	classPlain
	classSecret // hashed; names a person or a secret
	classAccount
	classCard
	classCSC // card security code: ephemeral
	classExpiry
	classPassword // ephemeral
	classPhone
	classEmail
	classContent
)

// hashed reports whether objects of the class are stored as keyed hashes.
func (c objectClassID) hashed() bool { return c != classPlain }

// ephemeral reports whether objects of the class live on the log only.
func (c objectClassID) ephemeral() bool {
	return c == classCSC || c == classExpiry || c == classPassword
}

// objectWords maps the words of an object's name to its class; the first word
// with a class other than plain decides ("gift_card" is a card, "card_amount"
// is one too and therefore hashed: the safe side).
var objectWords = map[string]objectClassID{
	"csc": classCSC, "cvv": classCSC, "cvc": classCSC, "cvv2": classCSC, "cvc2": classCSC, "cid": classCSC,
	"expiry": classExpiry, "exp": classExpiry, "expires": classExpiry,
	"secret": classPassword, "password": classPassword, "passwd": classPassword, "pin": classPassword, "otp": classPassword,
	"card": classCard, "pan": classCard,
	"account": classAccount, "user": classAccount, "username": classAccount, "login": classAccount, "owner": classAccount,
	"phone": classPhone, "msisdn": classPhone, "mobile": classPhone, "tel": classPhone, "telephone": classPhone,
	"email": classEmail, "mail": classEmail, "mailbox": classEmail,
	"coupon": classSecret, "voucher": classSecret, "promo": classSecret, "code": classSecret, "gift": classSecret,
	"payee": classSecret, "iban": classSecret, "bank": classSecret, "beneficiary": classSecret, "recipient": classSecret,
	"address": classSecret, "street": classSecret, "name": classSecret, "token": classSecret, "key": classSecret,
	"passport": classSecret, "ssn": classSecret, "license": classSecret, "session": classSecret, "device": classSecret,
	"content": classContent, "text": classContent, "message": classContent, "comment": classContent, "body": classContent,
	"item": classPlain, "order": classPlain, "amount": classPlain, "sku": classPlain, "product": classPlain,
	"price": classPlain, "quantity": classPlain, "qty": classPlain, "count": classPlain, "currency": classPlain,
	"category": classPlain, "seat": classPlain, "slot": classPlain, "event": classPlain, "auction": classPlain,
	"bid": classPlain, "show": classPlain, "film": classPlain, "movie": classPlain, "book": classPlain,
	"article": classPlain, "page": classPlain, "post": classPlain, "thread": classPlain, "topic": classPlain,
	"poll": classPlain, "option": classPlain, "vote": classPlain, "rating": classPlain, "review": classPlain,
	"target": classPlain, "campaign": classPlain, "ad": classPlain, "link": classPlain, "stock": classPlain,
	"size": classPlain, "variant": classPlain, "color": classPlain, "cart": classPlain, "step": classPlain,
	"flight": classPlain, "room": classPlain, "date": classPlain, "time": classPlain, "start": classPlain,
	"end": classPlain, "format": classPlain, "type": classPlain, "kind": classPlain, "status": classPlain,
	"language": classPlain, "country": classPlain, "region": classPlain, "city": classPlain, "model": classPlain,
	"tokens": classPlain, "units": classPlain, "limit": classPlain, "offset": classPlain, "sort": classPlain,
	"shop": classPlain, "store": classPlain, "ticket": classPlain, "report": classPlain, "id": classPlain,
	"challenge": classPlain, "captcha": classPlain, "drop": classPlain, "sale": classPlain, "method": classPlain,
}

// objectClass classifies an object by the words of its name: "shipping-address"
// and "shippingAddress" are an address.
func objectClass(name string) objectClassID {
	if strings.Contains(strings.ToLower(name), "e-mail") {
		return classEmail
	}
	class := classUnknown
	for _, word := range words(name) {
		switch c := objectWords[word]; {
		case c == classPlain && class == classUnknown:
			class = classPlain
		case c != classUnknown && c != classPlain:
			return c
		}
	}
	return class
}

// words splits a name at punctuation and at changes to upper case.
func words(name string) []string {
	var out []string
	start := 0
	cut := func(end int) {
		if end > start {
			out = append(out, strings.ToLower(name[start:end]))
		}
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case !isAlnum(c):
			cut(i)
			start = i + 1
		case c >= 'A' && c <= 'Z' && i > start && name[i-1] >= 'a' && name[i-1] <= 'z':
			cut(i)
			start = i
		}
	}
	cut(len(name))
	return out
}

// neverPlain reports whether a map may not ask for readable storage.
func neverPlain(name string) bool {
	return slices.Contains([]objectClassID{classCard, classCSC, classExpiry, classPassword, classContent}, objectClass(name))
}
