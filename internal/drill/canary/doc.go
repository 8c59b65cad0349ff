// Package canary is the devices of a drill: a process of their own that knows public
// addresses only, and writes down what each of them sent and saw. Publishers and
// subscribers come in pairs, with sessions to keep, at QoS 1 and 2, as clients of MQTT 3.1.1
// and 5 and, where they are installed, of other makes; publishers leave wills.
//
// What it is not: a judge. Its ledger is judged elsewhere, by internal/drill, and twice a
// second it says how it is going, for guardrails.
package canary
