//! Rates over time while neighbours start and stop.
