//! Pure operators on `(data, stamp, diff)`: no I/O, no clock, no threads.

pub mod aggregate;
