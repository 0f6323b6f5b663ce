//! What a lane writes to.
