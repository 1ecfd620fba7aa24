//! The catalogue of configs.
