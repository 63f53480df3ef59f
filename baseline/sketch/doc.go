// Package sketch owns the small fixed-size summaries that the engine keeps per
// entity: integer logarithms and decay, linear counters, predictive cells,
// logarithmic histograms and the set-associative table that holds them all.
//
// It promises that nothing here uses floating point, pointers inside table
// rows, randomness or the wall clock, so that the same input gives the same
// state on every architecture, and that memory is fixed when a table is made.
// It knows nothing of events, actors or threats.
package sketch
