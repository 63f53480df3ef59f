package line

import (
	"slices"
	"strings"

	"github.com/weirproject/weir/cmd/admin"
)

// sortReports gives reports and problems a steady order.
func sortReports(st *admin.Status) {
	slices.SortFunc(st.Reports, func(a, b admin.Report) int { return strings.Compare(a.Part, b.Part) })
	slices.Sort(st.Problems)
}
