"""The run loop: prepare, control, change, fault, heal, recover, verify, judge."""
