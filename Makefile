# One way to check: what CI runs is what a contributor runs.
.PHONY: check
check:
	.ci/run
