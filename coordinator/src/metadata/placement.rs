//! Which brokers hold a new partition.
