"""The vendor's service, simulated: account, rate limit, jobs, latency, answers, faults, files, counters; no HTTP."""
