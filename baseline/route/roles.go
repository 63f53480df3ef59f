package route

// shapeRule is what a rule wants of the path's end.
type shapeRule uint8

const (
	anyEnd shapeRule = iota
	endsVariable
	endsLiteral
)

// rule says by what a role is recognised. Points add up; from proposeAt on the
// role is proposed, with the points (at most 99) as its confidence.
type rule struct {
	role string
	// read: GET; otherwise a method that writes. remove: also or only DELETE.
	read, remove bool
	end          shapeRule
	// words in the path: 45 points in its last literal segment, 30 before it.
	words []string
	// also are words of which one must be in the path beside words.
	also []string
	// never are words that rule the role out.
	never []string
	// fields of the request, with points each; must lists those without which
	// the role is not proposed, lacks those that rule it out.
	fields map[class]int
	must   []class
	lacks  []class
	// codes are statuses that tell: 15 points when some but not all answers
	// have one.
	codes []int
	// redirects: 30 points when most answers redirect.
	redirects bool
	// fresh: 15 points when a cookie or a vouched account comes with success only.
	fresh bool
	// wordless: 40 points for a page with many values in its place, without a
	// word.
	wordless bool
	// after and ahead are roles asked for before this one, or after it: 15
	// points when a quarter of the visits do.
	after, ahead []string
}

const proposeAt = 40

var cartWords = []string{"cart", "basket", "bag", "warenkorb", "panier", "carrito"}

// rules in the order in which a tie is settled.
var rules = []rule{
	{
		role: "login", words: []string{"login", "signin", "logon", "auth", "authenticate", "session", "token", "anmelden", "connexion", "wplogin"},
		never:  []string{"signup", "register", "logout", "signout", "reset", "forgot", "refresh", "otp", "captcha", "verify"},
		fields: map[class]int{secret: 25, account: 15, email: 10}, lacks: []class{person, phone}, codes: []int{401, 403, 422}, fresh: true,
	},
	{
		role: "signup", words: []string{"signup", "register", "registration", "join", "createaccount", "enroll", "registrieren", "inscription", "registro"},
		never:  []string{"login", "logout", "newsletter"},
		fields: map[class]int{secret: 20, email: 15, person: 10, phone: 10}, codes: []int{409, 422}, fresh: true,
	},
	{ // POST /users with a secret and personal data
		role: "signup", words: []string{"user", "account", "customer", "member"}, end: endsLiteral, fields: map[class]int{secret: 20, email: 15, person: 10, phone: 10}, must: []class{secret, email},
	},
	{role: "logout", words: []string{"logout", "signout", "logoff", "abmelden", "deconnexion"}},
	{
		role: "reset", words: []string{"reset", "forgot", "forgotten", "recover", "recovery", "forgotpassword", "lostpassword", "passwordreset"},
		fields: map[class]int{email: 15, account: 15},
	},
	{
		role: "otp_send", words: []string{"otp", "sms", "2fa", "mfa", "verification"}, also: []string{"send", "request", "resend", "start", "issue", "sms"},
		fields: map[class]int{phone: 20, email: 10}, lacks: []class{otp},
	},
	{
		role: "otp_verify", words: []string{"otp", "sms", "2fa", "mfa", "verification", "verify"}, never: []string{"captcha", "send", "resend"},
		fields: map[class]int{otp: 25, phone: 5}, must: []class{otp}, codes: []int{400, 401, 403, 422},
	},
	{role: "otp_verify", words: []string{"otp", "sms", "2fa", "mfa", "verification"}, also: []string{"verify", "confirm", "check", "validate"}, never: []string{"captcha"}},
	{role: "captcha_issue", read: true, words: []string{"captcha", "recaptcha", "challenge"}, fields: map[class]int{captcha: 10}},
	{role: "captcha_verify", words: []string{"captcha", "recaptcha", "challenge"}, fields: map[class]int{captcha: 15}, codes: []int{400, 403, 422}},
	{
		role: "pay_auth", words: []string{"pay", "payment", "charge", "authorize", "bezahlen", "paiement", "pago"}, never: []string{"payout", "refund"},
		fields: map[class]int{card: 40, csc: 20, expiry: 10, amount: 10}, codes: []int{402}, after: []string{"cart_add", "checkout_step", "order"},
	},
	{
		role: "coupon_apply", words: []string{"coupon", "voucher", "promo", "promotion", "discount", "giftcard", "redeem", "gutschein"},
		fields: map[class]int{coupon: 25, otp: 15}, codes: []int{400, 404, 409, 422},
	},
	{
		role: "cart_remove", words: cartWords, also: []string{"remove", "delete", "clear", "entfernen"}, fields: map[class]int{item: 15},
	},
	{role: "cart_remove", words: cartWords, remove: true},
	{
		role: "cart_add", words: cartWords, never: []string{"remove", "delete", "clear", "coupon", "checkout"},
		fields: map[class]int{item: 25, quantity: 10}, codes: []int{409}, after: []string{"item_view"},
	},
	{
		role: "checkout_step", words: []string{"checkout", "kasse", "caisse"}, never: []string{"pay", "payment", "login"}, fields: map[class]int{address: 15},
		after: []string{"cart_add", "checkout_step"},
	},
	{
		role: "order", words: []string{"order", "purchase", "placeorder", "bestellung", "bestellen", "commande", "pedido"}, end: endsLiteral,
		never: []string{"pay", "payment", "cancel"}, lacks: []class{card}, after: []string{"cart_add", "checkout_step"},
	},
	{role: "reserve", words: []string{"reserve", "reservation", "hold", "booking", "book", "appointment"}, never: []string{"release", "cancel", "login"}, fields: map[class]int{seat: 20}, codes: []int{409}},
	{role: "release", words: []string{"release", "unhold", "cancelreservation"}, fields: map[class]int{seat: 20}, after: []string{"reserve"}},
	{role: "payout", words: []string{"payout", "withdraw", "withdrawal", "cashout", "auszahlung"}, fields: map[class]int{payee: 20, amount: 15}},
	{role: "transfer", words: []string{"transfer", "remit", "sendmoney", "ueberweisung", "virement"}, fields: map[class]int{payee: 20, amount: 15}},
	{role: "address_change", words: []string{"address", "shippingaddress", "adresse", "direccion"}, never: []string{"checkout", "email"}, fields: map[class]int{address: 20}},
	{
		role: "post", words: []string{"review", "comment", "post", "message", "reply", "thread", "feedback", "kommentar"},
		never: []string{"vote", "like"}, fields: map[class]int{content: 25, term: 0},
	},
	{role: "llm_call", words: []string{"chat", "completion", "assistant", "prompt", "generate"}, fields: map[class]int{prompt: 30, content: 0}},
	{role: "vote", words: []string{"vote", "upvote", "downvote", "poll", "rate"}},
	{role: "like", words: []string{"like", "favorite", "favourite", "heart"}},
	{role: "bid", words: []string{"bid", "gebot"}, fields: map[class]int{amount: 20}},
	{role: "chargeable_call", words: []string{"quote", "estimate", "creditcheck", "score", "lookup"}},
	{role: "click", read: true, words: []string{"go", "click", "out", "redirect", "ad", "track"}, end: endsVariable, redirects: true},
	{
		role: "search", read: true, words: []string{"search", "find", "suggest", "query", "suche", "recherche", "buscar", "autocomplete"},
		fields: map[class]int{term: 35}, ahead: []string{"item_view"},
	},
	{
		role: "item_view", read: true, end: endsVariable, never: []string{"order", "cart", "user"},
		words: []string{"item", "product", "article", "p", "dp", "detail", "listing", "lot", "stock", "artikel", "produit", "good", "offer", "book", "movie"},
		ahead: []string{"cart_add", "bid", "reserve"},
	},
	{role: "item_view", read: true, end: endsVariable, wordless: true, never: []string{"api", "order", "user", "account", "customer", "member", "admin", "tag", "author", "category", "c", "page"}, ahead: []string{"cart_add", "bid", "reserve"}},
	{
		role: "list_view", read: true, words: []string{"list", "category", "categorie", "c", "cat", "catalog", "catalogue", "collection", "browse", "kategorie", "shop", "tag"},
		fields: map[class]int{page: 20}, ahead: []string{"item_view"},
	},
	{
		role: "list_view", read: true, end: endsLiteral, words: []string{"product", "item", "article", "artikel", "produit", "listing", "offer"}, fields: map[class]int{page: 20},
		ahead: []string{"item_view"},
	},
	{role: "export", read: true, words: []string{"export", "download", "report", "csv", "dump", "statement"}},
}

// wanted lists the objects of each role by class, under the names that flow
// maps use; the path's last variable serves where a body field is missing.
var wanted = map[string][]struct {
	class class
	name  string
}{
	"signup":         {{email, "email"}, {phone, "phone"}},
	"otp_send":       {{phone, "phone"}, {email, "email"}},
	"otp_verify":     {{phone, "phone"}, {email, "email"}},
	"captcha_issue":  {{captcha, "captcha"}},
	"captcha_verify": {{captcha, "captcha"}},
	"pay_auth":       {{card, "card"}, {expiry, "expiry"}, {csc, "csc"}, {amount, "amount"}},
	"coupon_apply":   {{coupon, "coupon"}},
	"cart_add":       {{item, "item"}, {quantity, "quantity"}},
	"cart_remove":    {{item, "item"}},
	"reserve":        {{show, "event"}, {seat, "seat"}, {item, "item"}},
	"release":        {{show, "event"}, {seat, "seat"}, {item, "item"}},
	"payout":         {{payee, "payee"}, {amount, "amount"}},
	"transfer":       {{payee, "payee"}, {amount, "amount"}},
	"address_change": {{address, "address"}},
	"post":           {{item, "item"}, {content, "content"}},
	"bid":            {{item, "item"}, {amount, "amount"}},
	"like":           {{item, "item"}},
	"vote":           {{item, "item"}},
}

// inPath is the object that a path's last variable names, by role.
var inPath = map[string]string{
	"item_view": "item", "list_view": "category", "pay_auth": "order", "vote": "post", "like": "item", "bid": "item", "click": "ad", "cart_add": "item",
	"cart_remove": "item", "reserve": "item", "release": "item", "post": "item",
}

// judged are the roles whose answer says success or failure.
var judged = []string{
	"login", "reset", "signup", "otp_send", "otp_verify", "captcha_verify", "pay_auth", "coupon_apply", "cart_add", "order", "reserve", "payout", "transfer", "post", "bid",
}
