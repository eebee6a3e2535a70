//go:build !race

package audit

// raceDetector tells that everything takes several times as long.
const raceDetector = false
