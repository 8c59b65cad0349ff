// Package ledger keeps the promises of a witness on its disk: one file a home, replaced
// whole and synced before an answer is given.
//
// It is not for regions, whose promises are kept by a majority of their nodes.
//
// A witness that lost what it promised would promise again, to another region. So a
// directory is begun once, by an operator's word (Init); one that is empty, another
// one's, or lacks a file that was written is refused, and never taken for a new one. [B1]
package ledger
