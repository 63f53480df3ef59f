package traffic

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

// ShopFlows is the shop's flow map (CONTRACTS.md section 7).
//
//go:embed shop.flows.yaml
var ShopFlows string

// NewBlog makes a web log of which only an access log is known: pages, posts, a
// feed, pictures, a login page for its authors.
func NewBlog(host string, posts int) *Site {
	s := &Site{Name: "blog", Host: host, NoCookies: true, popular: NewZipf(posts, 1), accounts: map[string]string{}}
	for i := range posts {
		h := Mix(uint64(i), 99)
		s.Items = append(s.Items, Item{Slug: fmt.Sprintf("%s-%s-%s", adjectives[h%20], nouns[(h>>8)%30], nouns[(h>>16)%30]) + suffix(i)})
	}
	return s
}

func suffix(i int) string {
	if i < 600 {
		return ""
	}
	return fmt.Sprintf("-%d", i)
}

// Post opens the k-th post.
func (v *Visit) Post(k int, attempt bool) {
	it := v.Site.Items[k%len(v.Site.Items)].Slug
	v.page(PostPath(it, k%len(v.Site.Items)), 200, 20, attempt, "/img/"+it+".jpg", fmt.Sprintf("/img/%s-2.jpg", it))
}

// PostPath is the address of a post.
func PostPath(slug string, k int) string {
	return fmt.Sprintf("/%d/%02d/%s", 2015+k%11, 1+k%12, slug)
}

// Tag opens a tag page.
func (v *Visit) Tag(k, page int, attempt bool) {
	t := "/tag/" + nouns[k%30]
	if page > 1 {
		t += fmt.Sprintf("?page=%d", page)
	}
	v.page(t, 200, 25, attempt)
}

// AuthorLogin posts the login form of the site's authors; a refused login
// answers 200 with the form again, an accepted one redirects.
func (v *Visit) AuthorLogin(ok, attempt bool) {
	status, size := 200, 4300
	if ok {
		status, size = 302, 0
	}
	v.do(call{method: "POST", target: "/wp-login.php", status: status, bytes: size, contentType: "application/x-www-form-urlencoded", body: "log=x&pwd=y", slow: 140, attempt: attempt})
}

// SlugOf is the k-th post's slug.
func (s *Site) SlugOf(k int) string { return s.Items[k%len(s.Items)].Slug }

// Account is a name that looks like a path's user name.
func (s *Site) Account(k int) string { return strings.ToLower(nouns[k%30]) + strconv.Itoa(k) }
