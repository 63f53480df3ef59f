// Package clickhouse owns weir's tables: their schema and its versions, the
// hot and cold tiers, every insert and every query.
//
// It speaks to the embedded engine and to a ClickHouse server or cluster alike.
// It promises that a repeated insert with the same token adds nothing, to the
// tables or to the roll-ups; that an error says whether to try again or to set
// the data aside; and that a person's query runs read-only within limits. Rows
// of events arrive as ready Arrow streams; it never decodes them.
package clickhouse
