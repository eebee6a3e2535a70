//go:build race

package proxy_test

// raceDetector tells that everything takes several times as long, and more memory.
const raceDetector = true
